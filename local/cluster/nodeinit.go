package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
)

// nodeInitMain is the first process of a node: it furnishes the namespaces, starts "up" in them and collects every
// process that has lost its parent, as containers' shims do. All end with it.
func nodeInitMain() int {
	flags := flag.NewFlagSet(nodeInit, flag.ExitOnError)
	dir := flags.String("dir", "", "state directory")
	cni := flags.String("cni", "", "folder of the network plugins")
	port := flags.Int("port", 0, "port of the inherited socket")
	audit := flags.Bool("audit", false, "as in up")
	var images listFlag
	flags.Var(&images, "image", "archive of an image")
	_ = flags.Parse(os.Args[1:])

	if err := furnish(*dir, *cni); err != nil {
		fmt.Fprintln(os.Stderr, "controlplane: preparing the node:", err)
		return 1
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, crashSignal) // Ctrl-C is for "node", which passes it on as SIGTERM
	up := exec.Command("/proc/self/exe", append([]string{
		"--dir=" + *dir, fmt.Sprintf("--port=%d", *port), "--node", fmt.Sprintf("--audit=%t", *audit),
	}, imageArgs(images)...)...)
	up.Args[0] = "up"
	up.Stdout, up.Stderr = os.Stdout, os.Stderr
	up.ExtraFiles = []*os.File{os.NewFile(3, "listener")}
	if err := up.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "controlplane:", err)
		return 1
	}
	go func() {
		for sign := range signals {
			_ = up.Process.Signal(sign)
		}
	}()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case err == syscall.EINTR || err == nil && pid != up.Process.Pid:
			continue
		case err != nil:
			fmt.Fprintln(os.Stderr, "controlplane: waiting for the node's processes:", err)
			return 1
		case status.Signaled():
			fmt.Fprintln(os.Stderr, "controlplane: the control plane was ended by", status.Signal())
			return 1
		}
		return status.ExitStatus()
	}
}

// furnish gives new namespaces what a node expects to find: a place of its own wherever its parts write, and a network.
func furnish(dir, cni string) error {
	for _, name := range stateFolders {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			return err
		}
	}
	if err := syscall.Sethostname([]byte(nodeName)); err != nil {
		return fmt.Errorf("host name: %w", err)
	}
	if err := mountAll(dir, cni); err != nil {
		return err
	}
	return connect()
}
