package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	startTimeout = 90 * time.Second
	pollInterval = 25 * time.Millisecond

	// What the controller manager puts into every namespace.
	defaultAccount = "default"
	rootCAConfig   = "kube-root-ca.crt"
	// sparedNamespace exists on every cluster and nothing uses it here: there are no nodes.
	sparedNamespace = "kube-node-lease"
)

// newClient returns a client for the polls, and the HTTP client under it for its connections to be closed.
func newClient(kubeconfig []byte) (*kubernetes.Clientset, *http.Client, error) {
	config, err := clientcmd.RESTConfigFromKubeConfig(kubeconfig)
	if err != nil {
		return nil, nil, err
	}
	config.QPS = -1 // no throttling
	config.Timeout = 5 * time.Second
	connections, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, nil, err
	}
	client, err := kubernetes.NewForConfigAndClient(config, connections)
	return client, connections, err
}

// waitForAPIServer returns when the API server reports that it is ready.
func waitForAPIServer(ctx context.Context, client *kubernetes.Clientset) error {
	return poll(ctx, "apiserver", func() error {
		return client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	})
}

// waitForControllers returns when the controller manager is at work. On a restart its traces of the last run are
// there, so it has to show that it makes them anew.
func waitForControllers(ctx context.Context, client *kubernetes.Clientset) error {
	err := client.CoreV1().ServiceAccounts(sparedNamespace).Delete(ctx, defaultAccount, metav1.DeleteOptions{})
	if err == nil || apierrors.IsNotFound(err) {
		err = client.CoreV1().ConfigMaps(sparedNamespace).Delete(ctx, rootCAConfig, metav1.DeleteOptions{})
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("preparing the check of the controller manager: %w", err)
	}
	return poll(ctx, "kcm", func() error {
		for _, namespace := range []string{metav1.NamespaceDefault, sparedNamespace} {
			if _, err := client.CoreV1().ServiceAccounts(namespace).Get(ctx, defaultAccount, metav1.GetOptions{}); err != nil {
				return err
			}
			if _, err := client.CoreV1().ConfigMaps(namespace).Get(ctx, rootCAConfig, metav1.GetOptions{}); err != nil {
				return err
			}
		}
		return nil
	})
}

// poll calls check until it succeeds; when the time is up it names the component and check's last error.
func poll(ctx context.Context, component string, check func() error) error {
	for {
		err := check()
		if err == nil {
			return nil
		}
		select {
		case <-time.After(pollInterval):
		case <-ctx.Done():
			cause := context.Cause(ctx)
			if errors.Is(cause, context.DeadlineExceeded) {
				return &componentError{component, fmt.Errorf("%s not ready within %s: %w", component, startTimeout, err)}
			}
			return cause
		}
	}
}
