// Controlplane is a real Kubernetes control plane on the loopback interface, without a container engine and
// without root: kube-apiserver, kube-controller-manager, an embedded etcd, and kubectl, in one binary.
// As root it can be a whole cluster with a node that runs containers: see node.go.
// It is for tests, CI and the demo. See README.md.
package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // registers the client metrics, as upstream's mains do
	_ "k8s.io/component-base/metrics/prometheus/version"
	kcm "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	kubeproxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

// components maps a subcommand to its main function, which finds its own arguments in os.Args[1:] and returns the
// exit code. The Kubernetes components run as processes of their own, not as goroutines of "up": each of them owns
// the global flags, feature gates, logging and signal handler of its process.
var components = map[string]func() int{
	"up":        upMain,
	"node":      nodeMain,
	nodeInit:    nodeInitMain,
	janitor:     janitorMain,
	"apiserver": apiserverMain,
	"kcm":       func() int { return cli.Run(kcm.NewControllerManagerCommand()) },
	"scheduler": func() int { return cli.Run(scheduler.NewSchedulerCommand()) },
	"kubelet":   func() int { return cli.Run(kubelet.NewKubeletCommand(context.Background())) },
	"kubeproxy": func() int { return cli.Run(kubeproxy.NewProxyCommand()) },
	"kstatus":   kstatusMain,
	"kubectl":   kubectlMain,
}

func main() {
	// Called by the name of a component, for instance through a symlink "kubectl": behave as that component.
	name := filepath.Base(os.Args[0])
	if _, ok := components[name]; ok {
		_ = os.WriteFile("/proc/self/comm", []byte(name), 0) // a child of "up" would show as "exe" in ps and top
	} else {
		if len(os.Args) < 2 {
			usage("no subcommand given")
		}
		name = os.Args[1]
		os.Args = append([]string{name}, os.Args[2:]...)
	}
	run, ok := components[name]
	if !ok {
		usage(fmt.Sprintf("unknown subcommand %q", name))
	}
	os.Exit(run())
}

func usage(problem string) {
	names := slices.Sorted(maps.Keys(components))
	fmt.Fprintf(os.Stderr, "controlplane: %s; usage: controlplane %s [flags]\n", problem, strings.Join(names, "|"))
	os.Exit(2)
}
