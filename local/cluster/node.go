// The node: this machine as the only node of a cluster of its own, in private namespaces. "node" (here) makes the
// namespaces and cleans up after them, "node-init" (nodeinit.go) is the first process inside and furnishes them, and
// "up" runs the control plane there and the node's parts (nodeparts.go).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

const (
	nodeInit = "node-init"
	janitor  = "node-janitor"
)

// namespaces are those that a node has for itself: users are the machine's, since images hold files of several.
const namespaces = syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWCGROUP |
	syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC

// crashSignal makes a running node crash and start again, see crash.
const crashSignal = syscall.SIGUSR1

type nodeOptions struct {
	dir            string
	port           int
	cni            string
	images         listFlag
	audit          bool
	stopOnStdinEOF bool
}

// listFlag collects the values of a flag that may be given more than once.
type listFlag []string

func (l *listFlag) String() string         { return strings.Join(*l, ",") }
func (l *listFlag) Set(value string) error { *l = append(*l, value); return nil }

func nodeMain() int {
	var opts nodeOptions
	flags := flag.NewFlagSet("controlplane node", flag.ExitOnError)
	flags.StringVar(&opts.dir, "dir", "", "state directory, kept for a restart")
	flags.IntVar(&opts.port, "port", 0, "port of the API server on 127.0.0.1 of the machine (default: a free one)")
	flags.StringVar(&opts.cni, "cni", "", "folder of the network plugins ptp, host-local and loopback")
	flags.Var(&opts.images, "image", "archive of an image to import, can be repeated; one must hold localhost/pause:1")
	flags.BoolVar(&opts.audit, "audit", false, "write metadata of writes and of all that Pods ask to "+auditLog+" in the state directory")
	flags.BoolVar(&opts.stopOnStdinEOF, "stop-on-stdin-eof", false, "stop when standard input ends, for a parent that may die")
	_ = flags.Parse(os.Args[1:])
	if flags.NArg() > 0 || opts.dir == "" || opts.cni == "" {
		fmt.Fprintln(os.Stderr, "controlplane node: --dir and --cni are needed, and no other arguments")
		return 2
	}
	code, err := node(opts)
	if err != nil {
		fmt.Fprintln(os.Stderr, "controlplane:", err)
		return 1
	}
	return code
}

// node runs a cluster with a node until it is told to stop, and returns the exit code of what ran inside.
func node(opts nodeOptions) (code int, err error) {
	runtime.LockOSThread() // the first process inside dies with the thread that started it
	dir, err := filepath.Abs(opts.dir)
	if err != nil {
		return 0, err
	}
	if strings.HasPrefix(dir, "/run/") || strings.HasPrefix(dir, "/var/run/") {
		return 0, fmt.Errorf("%s is below /run, of which the node has its own", dir)
	}
	ctx, fail := context.WithCancelCause(context.Background())
	defer fail(nil)
	stopOnRequest(opts.stopOnStdinEOF, fail)
	outside, err := listen(ctx, &net.TCPAddr{IP: loopback, Port: opts.port})
	if err != nil {
		return 0, err
	}
	socket, err := outside.File()
	if err != nil {
		return 0, err
	}
	defer outside.Close()

	groups, err := createControlGroups()
	if err != nil {
		return 0, err
	}
	cleaner, err := startJanitor(groups)
	if err != nil {
		return 0, errors.Join(err, groups.remove())
	}
	defer func() { err = errors.Join(err, cleaner.finish()) }()
	first, err := startInside(groups, socket, append([]string{
		"--dir=" + dir, "--cni=" + opts.cni, fmt.Sprintf("--port=%d", outside.Addr().(*net.TCPAddr).Port),
		fmt.Sprintf("--audit=%t", opts.audit),
	}, imageArgs(opts.images)...))
	_ = socket.Close()
	_ = outside.Close() // from here on the port is as alive as the API server
	if err != nil {
		return 0, err
	}
	fmt.Printf("pid %d\n", first.Process.Pid)

	crashes := make(chan os.Signal, 1)
	signal.Notify(crashes, crashSignal)
	go func() {
		for sign := range crashes {
			_ = first.Process.Signal(sign)
		}
	}()
	ended := make(chan error, 1)
	go func() { ended <- first.Wait() }()
	select {
	case err = <-ended:
	case <-ctx.Done():
		_ = first.Process.Signal(syscall.SIGTERM)
		err = <-ended
	}
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		if failed.ExitCode() < 0 {
			return 0, fmt.Errorf("the first process of the node ended: %s", failed)
		}
		return failed.ExitCode(), nil
	}
	return 0, err
}

func imageArgs(images []string) []string {
	args := make([]string, len(images))
	for i, image := range images {
		args[i] = "--image=" + image
	}
	return args
}

// startInside starts the first process of new namespaces, in the given control groups, with the socket as its file
// descriptor 3. When it ends, the kernel ends all others in there; it ends itself with this process.
func startInside(groups controlGroups, socket *os.File, args []string) (*exec.Cmd, error) {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Args[0] = nodeInit
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{socket}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: namespaces, Pdeathsig: syscall.SIGKILL, Setpgid: true}
	// The root of a new control group namespace is the group of who makes it.
	if err := groups.join(); err != nil {
		return nil, err
	}
	return cmd, errors.Join(cmd.Start(), groups.leave())
}
