package main

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func newStateDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, pkiDir), 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

func mustLoad(t *testing.T, dir string) *authority {
	t.Helper()
	ca, err := loadAuthority(dir)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// parse returns the certificate of a pair, which must belong together.
func parse(t *testing.T, certPEM, keyPEM []byte) *x509.Certificate {
	t.Helper()
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	return pair.Leaf
}

func verify(ca *authority, cert *x509.Certificate, usage x509.ExtKeyUsage, name string) error {
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	_, err := cert.Verify(x509.VerifyOptions{Roots: roots, DNSName: name, KeyUsages: []x509.ExtKeyUsage{usage}})
	return err
}

func TestServingCertificateIsForTheLoopbackNamesOnly(t *testing.T) {
	ca := mustLoad(t, newStateDir(t))
	certPEM, keyPEM, err := ca.issueServing("kube-apiserver", loopback)
	if err != nil {
		t.Fatal(err)
	}
	cert := parse(t, certPEM, keyPEM)
	for _, name := range []string{"127.0.0.1", "localhost", "kubernetes.default.svc"} {
		if err := verify(ca, cert, x509.ExtKeyUsageServerAuth, name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if verify(ca, cert, x509.ExtKeyUsageServerAuth, "example.com") == nil {
		t.Error("valid for example.com")
	}
	if verify(ca, cert, x509.ExtKeyUsageClientAuth, "") == nil {
		t.Error("valid as a client certificate")
	}
}

func TestClientCertificateCarriesUserAndGroups(t *testing.T) {
	ca := mustLoad(t, newStateDir(t))
	certPEM, keyPEM, err := ca.issueClient("admin", "system:masters")
	if err != nil {
		t.Fatal(err)
	}
	cert := parse(t, certPEM, keyPEM)
	if err := verify(ca, cert, x509.ExtKeyUsageClientAuth, ""); err != nil {
		t.Error(err)
	}
	if cert.Subject.CommonName != "admin" || !slices.Equal(cert.Subject.Organization, []string{"system:masters"}) {
		t.Errorf("subject %s", cert.Subject)
	}
	if cert.IsCA {
		t.Error("may sign certificates")
	}
}

func TestRestartKeepsTheAuthority(t *testing.T) {
	dir := newStateDir(t)
	first, second := mustLoad(t, dir), mustLoad(t, dir)
	certPEM, keyPEM, err := second.issueClient("admin")
	if err != nil {
		t.Fatal(err)
	}
	if err := verify(first, parse(t, certPEM, keyPEM), x509.ExtKeyUsageClientAuth, ""); err != nil {
		t.Error(err)
	}
	if stranger := mustLoad(t, newStateDir(t)); verify(stranger, parse(t, certPEM, keyPEM), x509.ExtKeyUsageClientAuth, "") == nil {
		t.Error("accepted by the authority of another directory")
	}
}

func TestInterruptedCreationIsCompleted(t *testing.T) {
	dir := newStateDir(t)
	mustLoad(t, dir)
	if err := os.Remove(filepath.Join(dir, caCertFile)); err != nil {
		t.Fatal(err)
	}
	mustLoad(t, dir)
	mustLoad(t, dir)
}

func TestDamagedAuthorityIsRefused(t *testing.T) {
	for _, file := range []string{caCertFile, caKeyFile} {
		dir := newStateDir(t)
		mustLoad(t, dir)
		if err := os.WriteFile(filepath.Join(dir, file), []byte("no PEM"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := loadAuthority(dir); err == nil {
			t.Errorf("damaged %s was accepted", file)
		}
	}
	dir, other := newStateDir(t), newStateDir(t)
	mustLoad(t, dir)
	mustLoad(t, other)
	if err := os.Rename(filepath.Join(other, caKeyFile), filepath.Join(dir, caKeyFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := loadAuthority(dir); err == nil {
		t.Error("another authority's key was accepted")
	}
}

func TestSecretsAreForTheirOwnerOnly(t *testing.T) {
	dir := newStateDir(t)
	mustLoad(t, dir)
	info, err := os.Stat(filepath.Join(dir, caKeyFile))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
}
