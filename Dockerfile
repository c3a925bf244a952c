# One image for operator, router and webhooks; whoever runs it names the command (nbhd-operator, …).
#
#   docker build -t nbhd-united .                        the platform
#   docker build -t nbhd-united:local --target local .   with the emulators of the offline world
#
# BASE needs a Debian or Ubuntu with python3 (3.11 or newer), venv and CA certificates; name it by digest for a build
# that can be repeated. A package index of your own: --secret id=pip.conf,src=pip.conf leaves no trace in the image.
ARG BASE=docker.io/library/python:3.13-slim-bookworm

# --- /opt/nbhd, a virtual environment that needs no installer: pip works on it from outside
FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore PIP_NO_INPUT=1
WORKDIR /src
COPY requirements.txt requirements-build.txt ./
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    python3 -m venv /build \
    && python3 -m venv --without-pip /opt/nbhd \
    && /build/bin/pip install --quiet --require-hashes --no-deps --only-binary :all: -r requirements-build.txt \
    && /build/bin/pip --python /opt/nbhd/bin/python install --quiet --no-compile --require-hashes --no-deps \
      --only-binary :all: -r requirements.txt \
    && rm -f /opt/nbhd/bin/[Aa]ctivate* \
    && /opt/nbhd/bin/python -m compileall -q -f --invalidation-mode unchecked-hash /opt/nbhd/lib/python3*/site-packages

# --- the base without what a service never runs: package tools, installers, setuid bits, documentation, caches
FROM ${BASE} AS system
RUN set -eu; \
    find / -xdev -type f -perm /6000 -exec chmod ug-s {} +; \
    unneeded="$(dpkg-query --show --showformat '${Package}\n' apt 'libapt-pkg*' debconf init-system-helpers 'perl*' \
      'libperl*' 'lib*-perl' usrmerge 'python3*-venv' 'python3-*-whl' python3-pip python3-setuptools \
      python3-distutils python3-lib2to3 \
      util-linux util-linux-extra bsdutils mount login passwd 'libpam-*' e2fsprogs logsave sysvinit-utils ncurses-bin \
      2>/dev/null || true)"; \
    rm -f /var/lib/dpkg/info/*.p*inst /var/lib/dpkg/info/*.p*rm /var/lib/dpkg/info/*.triggers; \
    dpkg --purge --force-all ${unneeded} >/tmp/log 2>&1 || { tail /tmp/log; exit 1; }; \
    rm -rf /usr/bin/dpkg* /usr/sbin/dpkg* /usr/bin/update-alternatives /usr/share/dpkg /etc/dpkg \
      /etc/apt /usr/lib/apt /var/lib/apt \
      /usr/lib/python3*/ensurepip /usr/lib/python3*/lib2to3 /usr/lib/python3*/distutils \
      /usr/local/lib/python3*/ensurepip /usr/local/lib/python3*/idlelib /usr/local/lib/python3*/site-packages/* \
      /usr/local/bin/pip* /usr/local/bin/idle* /usr/local/bin/2to3* /usr/local/include \
      /usr/share/man /usr/share/info /usr/share/locale /usr/share/lintian /usr/share/bash-completion /usr/share/perl* \
      /usr/lib/*/gconv \
      /var/cache/* /var/log/* /tmp/* ~/.[!.]*; \
    find /var/lib/dpkg -type f ! -name status ! -name '*.list' -delete; \
    find /usr/share/doc -mindepth 1 ! -type d ! -name copyright -delete; \
    find / -xdev -type d -name __pycache__ -prune -exec rm -rf {} +; \
    python3 -m compileall -q -f --invalidation-mode unchecked-hash \
      "$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" >/dev/null || true; \
    echo 'nbhd:x:65532:65532:nbhd-united:/nonexistent:/usr/sbin/nologin' >>/etc/passwd; \
    echo 'nbhd:x:65532:' >>/etc/group; \
    mkdir -p /var/lib/nbhd; \
    chown 65532:65532 /var/lib/nbhd

# --- what both images share. Copied onto nothing, so that what was removed is not carried along in a lower layer. The
# services' own code comes last and alone: a release that changes no dependency is a layer of some hundred kilobytes.
FROM scratch AS common
COPY --from=system / /
COPY --from=build /opt/nbhd /opt/nbhd
ENV PATH=/opt/nbhd/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    LANG=C.UTF-8 PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
WORKDIR /

# --- the platform's own code, below /layer as it will lie below /
FROM build AS build-platform
COPY pyproject.toml ./
COPY crds crds
COPY operator operator
COPY webhooks webhooks
COPY router router
COPY cli cli
RUN /build/bin/pip wheel --quiet --no-deps --no-build-isolation --no-index --wheel-dir /wheels . \
    && /build/bin/pip --python /opt/nbhd/bin/python install --quiet --no-compile --no-deps --no-index --root /layer \
      /wheels/*.whl \
    && /build/bin/python -m compileall -q -f -s /layer --invalidation-mode unchecked-hash /layer

FROM build-platform AS build-local
COPY requirements-local.txt ./
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    /build/bin/pip --python /opt/nbhd/bin/python install --quiet --no-compile --require-hashes --no-deps \
      --only-binary :all: --root /layer -r requirements-local.txt
COPY local local
RUN /build/bin/pip wheel --quiet --no-deps --no-build-isolation --no-index --wheel-dir /wheels-local ./local \
    && /build/bin/pip --python /opt/nbhd/bin/python install --quiet --no-compile --no-deps --no-index --root /layer \
      /wheels-local/*.whl \
    && /build/bin/python -m compileall -q -f -s /layer --invalidation-mode unchecked-hash /layer

FROM common AS local
COPY --from=build-local /layer /
ARG VERSION=0.2.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="nbhd-united-local" \
      org.opencontainers.image.description="nbhd-united with emulators of Azure, Stripe and Telegram" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

FROM common AS platform
COPY --from=build-platform /layer /
ARG VERSION=0.2.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="nbhd-united" \
      org.opencontainers.image.description="Operator, router and webhooks of a control plane that sells private AI assistants" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
