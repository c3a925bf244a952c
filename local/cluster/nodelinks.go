package main

import (
	"fmt"
	"net"
	"os"

	"github.com/vishvananda/netlink"
)

const (
	nodeName    = "local"
	nodeAddress = "10.250.0.1"
	nodePort    = 6443
	podRange    = "10.244.0.0/16"
)

var loopback = net.IPv4(127, 0, 0, 1)

// connect gives a new network namespace what a node expects: an interface with an address, and a default route, which
// leads nowhere, since without one kube-proxy's addresses would be unreachable.
func connect() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	// Some kernels lack the type "dummy"; the other end of a pair does as well.
	attributes := netlink.NewLinkAttrs()
	attributes.Name = "node0"
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attributes, PeerName: "node1"}); err != nil {
		return fmt.Errorf("making the node's interface: %w", err)
	}
	peer, err := netlink.LinkByName("node1")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(peer); err != nil {
		return err
	}
	link, err := netlink.LinkByName("node0")
	if err != nil {
		return err
	}
	address, err := netlink.ParseAddr(nodeAddress + "/24")
	if err != nil {
		return err
	}
	if err := netlink.AddrAdd(link, address); err != nil {
		return fmt.Errorf("the node's address: %w", err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return err
	}
	nowhere := &netlink.Route{LinkIndex: link.Attrs().Index, Gw: net.IPv4(10, 250, 0, 254)}
	if err := netlink.RouteAdd(nowhere); err != nil {
		return fmt.Errorf("default route: %w", err)
	}
	return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644)
}
