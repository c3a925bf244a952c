package main

import (
	"fmt"
	"net"
	"os"

	"github.com/spf13/cobra"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	genericapiserver "k8s.io/apiserver/pkg/server"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/rest"
	"k8s.io/component-base/cli"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"
)

// apiserverMain is upstream's kube-apiserver command plus one flag, --listener-fd. Upstream can only bind a port by
// number; a port that was found free and closed again may be gone by then, so "up" hands down the open socket.
func apiserverMain() int {
	opts := options.NewServerRunOptions()
	ctx := genericapiserver.SetupSignalContext()
	var listenerFD uint
	cmd := &cobra.Command{
		Use:          "apiserver",
		SilenceUsage: true,
		Args:         cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := opts.GenericServerRunOptions.ComponentGlobalsRegistry.Set(); err != nil {
				return err
			}
			rest.SetDefaultWarningHandler(rest.NoWarnings{}) // its own loopback clients need not be warned
			if err := logsapi.ValidateAndApply(opts.Logs, utilfeature.DefaultFeatureGate); err != nil {
				return err
			}
			if listenerFD != 0 {
				file := os.NewFile(uintptr(listenerFD), "listener")
				listener, err := net.FileListener(file)
				if err != nil {
					return fmt.Errorf("--listener-fd=%d: %w", listenerFD, err)
				}
				_ = file.Close() // FileListener holds a duplicate
				opts.SecureServing.Listener = listener
			}
			completed, err := opts.Complete(ctx)
			if err != nil {
				return err
			}
			if errs := completed.Validate(); len(errs) != 0 {
				return utilerrors.NewAggregate(errs)
			}
			return app.Run(ctx, completed)
		},
	}
	for _, flags := range opts.Flags().FlagSets {
		cmd.Flags().AddFlagSet(flags)
	}
	cmd.Flags().UintVar(&listenerFD, "listener-fd", 0, "Inherited file descriptor of a listening socket to serve on.")
	return cli.Run(cmd)
}
