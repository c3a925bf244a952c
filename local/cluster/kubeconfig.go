package main

import (
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// kubeconfig is a self-contained kubeconfig for the API server at server: the authority and the client certificate
// of user are embedded, so that the file can be copied or handed to a process elsewhere.
func kubeconfig(ca *authority, server, user string, groups ...string) ([]byte, error) {
	cert, key, err := ca.issueClient(user, groups...)
	if err != nil {
		return nil, err
	}
	config := api.NewConfig()
	config.Clusters["local"] = &api.Cluster{Server: server, CertificateAuthorityData: ca.certPEM}
	config.AuthInfos[user] = &api.AuthInfo{ClientCertificateData: cert, ClientKeyData: key}
	config.Contexts["local"] = &api.Context{Cluster: "local", AuthInfo: user, Namespace: "default"}
	config.CurrentContext = "local"
	return clientcmd.Write(*config)
}
