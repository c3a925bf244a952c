package main

import (
	"context"
	"fmt"
	"net/url"

	"go.etcd.io/etcd/server/v3/embed"
)

// etcdEndpoint is a socket in the state directory (the working directory of "up" and of its children; a relative
// path also escapes the 108 bytes that a socket's path may have). A TCP port would need a free number and would let
// every local user write to the cluster, since etcd itself asks for no credentials.
const etcdEndpoint = "unix://etcd.sock"

// startEtcd starts the embedded etcd in the state directory, which must be the working directory.
func startEtcd(ctx context.Context) (*embed.Etcd, error) {
	client := url.URL{Scheme: "unix", Host: "etcd.sock"}
	peer := url.URL{Scheme: "unix", Host: "etcd-peer.sock"}    // never dialled, but etcd insists on one
	name := url.URL{Scheme: "http", Host: "etcd.invalid:2380"} // nor is this: it only has to look like an address
	cfg := embed.NewConfig()
	cfg.Name, cfg.Dir = "local", "etcd"
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{client}, []url.URL{name}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{peer}, []url.URL{name}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	cfg.LogOutputs, cfg.LogLevel = []string{logFile("etcd")}, "warn"
	cfg.WarningUnaryRequestDuration = embed.DefaultWarningUnaryRequestDuration // NewConfig leaves 0: warn of every request
	cfg.EnableGRPCGateway = false
	cfg.TickMs, cfg.ElectionMs = 20, 100 // a lone member elects itself after up to two election timeouts
	cfg.UnsafeNoFsync = true             // a killed process loses nothing, a killed machine may: right for a throw-away cluster
	cfg.QuotaBackendBytes = 8 << 30
	etcd, err := embed.StartEtcd(cfg)
	if err != nil {
		return nil, err
	}
	select {
	case <-etcd.Server.ReadyNotify():
		return etcd, nil
	case err = <-etcd.Err():
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	etcd.Close()
	return nil, fmt.Errorf("etcd did not become ready: %w", err)
}
