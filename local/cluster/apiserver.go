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
// number; a port that was found free and closed again may be gone by then, so "up" hands down the open socket. Of
// several, the first is the one that the server believes to be at; the others may belong to other network namespaces.
func apiserverMain() int {
	opts := options.NewServerRunOptions()
	ctx := genericapiserver.SetupSignalContext()
	var listenerFDs []uint
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
			listeners := make([]net.Listener, len(listenerFDs))
			for i, fd := range listenerFDs {
				file := os.NewFile(uintptr(fd), "listener")
				listener, err := net.FileListener(file)
				if err != nil {
					return fmt.Errorf("--listener-fd=%d: %w", fd, err)
				}
				_ = file.Close() // FileListener holds a duplicate
				listeners[i] = listener
			}
			if len(listeners) > 0 {
				opts.SecureServing.Listener = joinListeners(listeners)
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
	cmd.Flags().UintSliceVar(&listenerFDs, "listener-fd", nil, "Inherited file descriptors of listening sockets to serve on.")
	return cli.Run(cmd)
}
