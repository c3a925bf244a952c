package main

import (
	"testing"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

func TestKubeconfigIsSelfContainedAndVerifiesTheServer(t *testing.T) {
	ca := mustLoad(t, newStateDir(t))
	data, err := kubeconfig(ca, "https://127.0.0.1:6443", "admin", "system:masters")
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(data)
	if err != nil {
		t.Fatal(err)
	}
	if config.Host != "https://127.0.0.1:6443" || config.Insecure || string(config.CAData) != string(ca.certPEM) {
		t.Errorf("cluster: host %s, insecure %v, CA %q", config.Host, config.Insecure, config.CAData)
	}
	if user := parse(t, config.CertData, config.KeyData).Subject.CommonName; user != "admin" {
		t.Errorf("user %s", user)
	}
	if _, err := rest.TransportFor(config); err != nil {
		t.Error(err)
	}
}
