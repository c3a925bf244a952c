package main

import (
	"fmt"
	"strings"
)

// controllers are those that a cluster without nodes has work for.
var controllers = []string{
	"clusterrole-aggregation-controller",
	"garbage-collector-controller",
	"namespace-controller",
	"resourcequota-controller",
	"root-ca-certificate-publisher-controller",
	"serviceaccount-controller",
	"serviceaccount-token-controller",
	"validatingadmissionpolicy-status-controller",
}

// The flags below name files relative to the state directory, and never a secret: command lines are public.

// apiserverServiceIP is the address of the Service "kubernetes": always the first of the range.
const (
	serviceRange       = "10.0.0.0/24"
	apiserverServiceIP = "10.0.0.1"
)

func apiserverArgs(opts upOptions, sockets *sockets) []string {
	args := []string{
		"--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", sockets.port),
		"--etcd-servers=" + etcdEndpoint,
		"--tls-cert-file=" + servingCert, "--tls-private-key-file=" + servingKey,
		"--client-ca-file=" + caCertFile,
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + saKeyFile, "--service-account-signing-key-file=" + saKeyFile,
		"--service-cluster-ip-range=" + serviceRange,
		"--profiling=false",
		"--v=1",
	}
	for i := range sockets.files {
		args = append(args, fmt.Sprintf("--listener-fd=%d", 3+i))
	}
	if opts.node {
		args = append(args,
			"--advertise-address="+nodeAddress,
			"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged=true",
			"--kubelet-preferred-address-types=InternalIP", "--kubelet-certificate-authority="+caCertFile,
			"--kubelet-client-certificate="+nodeClientCert, "--kubelet-client-key="+nodeClientKey,
		)
	} else {
		args = append(args,
			"--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none", // loopback may not be an endpoint's address
			"--authorization-mode=RBAC",
		)
	}
	if opts.audit {
		args = append(args, "--audit-policy-file="+auditPolicyFile, "--audit-log-path="+auditLog)
	}
	return append(args, featureGateArgs(opts.featureGates)...)
}

func controllerManagerArgs(featureGates string, node bool) []string {
	wanted := strings.Join(controllers, ",")
	if node {
		wanted = "*"
	}
	return append([]string{
		"--kubeconfig=" + managerKubeconfig,
		"--use-service-account-credentials=true", // each controller is known by its own name, as on real clusters
		"--controllers=" + wanted,
		"--leader-elect=false",
		"--secure-port=0", // serves nothing: its work shows in the cluster
		"--root-ca-file=" + caCertFile, "--service-account-private-key-file=" + saKeyFile,
		"--profiling=false",
		"--v=1",
	}, featureGateArgs(featureGates)...)
}

func featureGateArgs(featureGates string) []string {
	if featureGates == "" {
		return nil
	}
	return []string{"--feature-gates=" + featureGates}
}
