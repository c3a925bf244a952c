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

func apiserverArgs(port int, featureGates string, audit bool) []string {
	args := []string{
		"--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", port), "--listener-fd=3",
		"--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none", // loopback may not be an endpoint's address
		"--etcd-servers=" + etcdEndpoint,
		"--tls-cert-file=" + servingCert, "--tls-private-key-file=" + servingKey,
		"--client-ca-file=" + caCertFile,
		"--authorization-mode=RBAC",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + saKeyFile, "--service-account-signing-key-file=" + saKeyFile,
		"--service-cluster-ip-range=10.0.0.0/24",
		"--profiling=false",
		"--v=1",
	}
	if audit {
		args = append(args, "--audit-policy-file="+auditPolicyFile, "--audit-log-path="+auditLog)
	}
	return append(args, featureGateArgs(featureGates)...)
}

func controllerManagerArgs(featureGates string) []string {
	return append([]string{
		"--kubeconfig=" + managerKubeconfig,
		"--use-service-account-credentials=true", // each controller is known by its own name, as on real clusters
		"--controllers=" + strings.Join(controllers, ","),
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
