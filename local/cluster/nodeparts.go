package main

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// insideKubeconfig is the administrator's kubeconfig for processes in the node's network; in the state directory.
const insideKubeconfig = "inside.kubeconfig"

//go:embed node
var nodeFiles embed.FS

// nodeUsers are the node's parts as the API server knows them, by the names of their kubeconfigs in runDir.
var nodeUsers = map[string][]string{ // user, groups
	"kubelet":   {"system:node:" + nodeName, "system:nodes"},
	"scheduler": {"system:kube-scheduler"},
	"kubeproxy": {"system:kube-proxy"},
	"coredns":   {"system:coredns"},
}

// writeRunDir writes what the node's parts read.
func writeRunDir(ca *authority, url string) error {
	errs := []error{os.MkdirAll(filepath.Join(runDir, "net.d"), 0o755)}
	for name, target := range map[string]string{
		"containerd.toml": "containerd.toml",
		"kubelet.yaml":    "kubelet.yaml",
		"Corefile":        "Corefile",
		"pods.conflist":   "net.d/pods.conflist",
	} {
		content, err := nodeFiles.ReadFile("node/" + name)
		errs = append(errs, err, writeFile(filepath.Join(runDir, target), content))
	}
	for name, user := range nodeUsers {
		config, err := kubeconfig(ca, url, user[0], user[1:]...)
		errs = append(errs, err, writeFile(filepath.Join(runDir, name+".kubeconfig"), config))
	}
	cert, key, err := ca.issueServing("kubelet", net.ParseIP(nodeAddress))
	return errors.Join(append(errs, err,
		writeFile(filepath.Join(runDir, "kubelet.crt"), cert),
		writeFile(filepath.Join(runDir, "kubelet.key"), key),
		writeFile(filepath.Join(runDir, "ca.crt"), ca.certPEM),
	)...)
}

// writeNodeClient writes what the API server shows to the kubelet.
func writeNodeClient(ca *authority) error {
	cert, key, err := ca.issueClient("kube-apiserver")
	return errors.Join(err, writeFile(nodeClientCert, cert), writeFile(nodeClientKey, key))
}

// startRuntime starts containerd and returns at once; the channel gives the result of importing the images, for which
// the API server's start leaves time.
func startRuntime(ctx context.Context, children *children, images []string) (<-chan error, error) {
	if err := children.startProgram("containerd", "--config="+filepath.Join(runDir, "containerd.toml")); err != nil {
		return nil, err
	}
	imported := make(chan error, 1)
	go func() {
		err := poll(ctx, "containerd", func() error { return ctr(ctx, "version") })
		for _, image := range images {
			if err == nil {
				err = ctr(ctx, "--namespace=k8s.io", "images", "import", image)
			}
		}
		imported <- err
	}()
	return imported, nil
}

func ctr(ctx context.Context, args ...string) error {
	output, err := exec.CommandContext(ctx, "ctr", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ctr %v: %w: %s", args, err, bytes.TrimSpace(output))
	}
	return nil
}

// startNode starts the parts of the node that need an API server.
func startNode(ctx context.Context, children *children, client *kubernetes.Clientset) error {
	if err := forgetReadiness(ctx, client); err != nil {
		return err
	}
	if err := applyObjects(ctx, client); err != nil {
		return err
	}
	return errors.Join(
		children.start("scheduler", []string{partConfig("scheduler"), "--leader-elect=false", "--secure-port=0"}),
		startParts(children),
	)
}

// startParts starts what runs on every node of a cluster, but for containerd, and the cluster's DNS.
func startParts(children *children) error {
	return errors.Join(
		children.start("kubelet", []string{
			partConfig("kubelet"), "--config=" + filepath.Join(runDir, "kubelet.yaml"),
			"--hostname-override=" + nodeName, "--node-ip=" + nodeAddress,
		}),
		children.start("kubeproxy", []string{
			partConfig("kubeproxy"), "--proxy-mode=nftables", "--cluster-cidr=" + podRange, "--hostname-override=" + nodeName,
			"--healthz-bind-address=127.0.0.1:10256", "--metrics-bind-address=127.0.0.1:10249",
			// Limits of connection tracking are the machine's, not the namespace's.
			"--conntrack-max-per-core=0", "--conntrack-tcp-timeout-established=0s", "--conntrack-tcp-timeout-close-wait=0s",
		}),
		children.startProgram("coredns", "-conf", filepath.Join(runDir, "Corefile")),
	)
}

func partConfig(name string) string {
	return "--kubeconfig=" + filepath.Join(runDir, name+".kubeconfig")
}

// crash does to the node what a power cut does: everything that runs on it ends at once, the containers too, and starts
// again. The control plane, which a managed cluster has elsewhere, goes on. It returns when the node is ready again.
func crash(ctx context.Context, children *children, client *kubernetes.Clientset) error {
	if err := children.kill("kubelet", "containerd", "kubeproxy", "coredns"); err != nil {
		return err
	}
	if err := killOthers(children.pids()); err != nil {
		return err
	}
	if err := forgetReadiness(ctx, client); err != nil {
		return err
	}
	imported, err := startRuntime(ctx, children, nil)
	if err != nil {
		return err
	}
	if err := <-imported; err != nil {
		return err
	}
	return errors.Join(startParts(children), waitForNode(ctx, client))
}

// killOthers ends every process of the node but this one, its parent, which is the first, and those to spare.
func killOthers(spared []int) error {
	spared = append(spared, 1, os.Getpid())
	for {
		entries, err := os.ReadDir("/proc")
		if err != nil {
			return err
		}
		killed := 0
		for _, entry := range entries {
			pid, err := strconv.Atoi(entry.Name())
			if err == nil && !slices.Contains(spared, pid) && syscall.Kill(pid, syscall.SIGKILL) == nil {
				killed++
			}
		}
		if killed == 0 { // those that were killed are reaped by the first process
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// waitForNode returns when Pods can be scheduled and Services and their names reached.
func waitForNode(ctx context.Context, client *kubernetes.Clientset) error {
	err := poll(ctx, "kubelet", func() error {
		node, err := client.CoreV1().Nodes().Get(ctx, nodeName, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if len(node.Spec.Taints) > 0 {
			return fmt.Errorf("the node is tainted: %v", node.Spec.Taints)
		}
		for _, condition := range node.Status.Conditions {
			if condition.Type == corev1.NodeReady && condition.Status != corev1.ConditionTrue {
				return fmt.Errorf("the node is not ready: %s", condition.Message)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := poll(ctx, "kubeproxy", func() error { return answers(ctx, "http://127.0.0.1:10256/healthz") }); err != nil {
		return err
	}
	return poll(ctx, "coredns", func() error { return answers(ctx, "http://"+nodeAddress+":8181/ready") })
}

func answers(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, response.Status)
	}
	return nil
}

// forgetReadiness marks a node that is known from a run before as not heard of, so that its readiness is news.
func forgetReadiness(ctx context.Context, client *kubernetes.Clientset) error {
	node, err := client.CoreV1().Nodes().Get(ctx, nodeName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for i := range node.Status.Conditions {
		if condition := &node.Status.Conditions[i]; condition.Type == corev1.NodeReady {
			condition.Status, condition.Reason = corev1.ConditionUnknown, "NodeStarting"
			condition.Message = "The node is starting."
			condition.LastTransitionTime = metav1.NewTime(time.Now())
		}
	}
	_, err = client.CoreV1().Nodes().UpdateStatus(ctx, node, metav1.UpdateOptions{})
	return err
}

// applyObjects puts into the cluster what the node brings along: names for Services, and storage for claims.
func applyObjects(ctx context.Context, client *kubernetes.Clientset) error {
	for file, path := range map[string]string{
		"coredns-role.yaml":    "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:coredns",
		"coredns-binding.yaml": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/system:coredns",
		"dns-service.yaml":     "/api/v1/namespaces/kube-system/services/kube-dns",
		"dns-endpoint.yaml":    "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices/kube-dns-node",
		"storage-class.yaml":   "/apis/storage.k8s.io/v1/storageclasses/local",
	} {
		content, err := nodeFiles.ReadFile("node/objects/" + file)
		if err != nil {
			return err
		}
		err = poll(ctx, "apiserver", func() error { // it makes kube-system after it has become ready
			return client.CoreV1().RESTClient().Patch(types.ApplyYAMLPatchType).AbsPath(path).
				Param("fieldManager", "controlplane").Param("force", "true").Body(content).Do(ctx).Error()
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// warn tells of a failure that ends nothing.
func warn(what string, err error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "controlplane: %s: %s\n", what, err)
	}
}
