package main

import (
	"os"

	_ "k8s.io/client-go/plugin/pkg/client/auth" // exec and oidc credentials in a kubeconfig
	"k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"
)

// kubectlMain is upstream's cmd/kubectl/kubectl.go.
func kubectlMain() int {
	_, _ = logs.GlogSetter(cmd.GetLogVerbosity(os.Args)) // the command's construction logs before its flags are parsed
	if err := cli.RunNoErrOutput(cmd.NewDefaultKubectlCommand()); err != nil {
		util.CheckErr(err) // prints the error and exits
	}
	return 0
}
