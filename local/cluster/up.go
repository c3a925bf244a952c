package main

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
)

// Files in the state directory, besides pki/ and the logs.
const (
	adminKubeconfig   = "kubeconfig"
	managerKubeconfig = "kcm.kubeconfig"
	auditPolicyFile   = "audit-policy.yaml"
	auditLog          = "audit.log"
	lockFile          = "lock"
)

//go:embed audit-policy.yaml
var auditPolicy []byte

// errStopped is the cause of a wanted end.
var errStopped = errors.New("stopped")

type upOptions struct {
	dir            string
	port           int
	featureGates   string
	audit          bool
	stopOnStdinEOF bool
	node           bool     // inside the namespaces of a node: run that too
	images         listFlag // to import before the node is ready
}

func upMain() int {
	var opts upOptions
	flags := flag.NewFlagSet("controlplane up", flag.ExitOnError)
	flags.StringVar(&opts.dir, "dir", "", "state directory, kept for a restart (default: a temporary one, removed at the end)")
	flags.IntVar(&opts.port, "port", 0, "port of the API server on 127.0.0.1 (default: a free one)")
	flags.StringVar(&opts.featureGates, "feature-gates", "", "Kubernetes feature gates, e.g. ShardedListAndWatch=true")
	flags.BoolVar(&opts.audit, "audit", false, "write metadata of every write request to "+auditLog+" in the state directory")
	flags.BoolVar(&opts.stopOnStdinEOF, "stop-on-stdin-eof", false, "stop when standard input ends, for a parent that may die")
	flags.BoolVar(&opts.node, "node", false, "for the subcommand node only: serve its inherited socket and run its parts")
	flags.Var(&opts.images, "image", "for the subcommand node only: archive of an image to import")
	_ = flags.Parse(os.Args[1:])
	if flags.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "controlplane up: unexpected argument %q\n", flags.Arg(0))
		return 2
	}
	if err := up(opts); err != nil {
		fmt.Fprintln(os.Stderr, "controlplane:", err)
		return 1
	}
	return 0
}

// up runs the control plane until it is told to stop.
func up(opts upOptions) (err error) {
	// Children are killed when the thread that started them ends (Pdeathsig). This goroutine starts them all and
	// lives as long as the process; tied to its thread, so does the thread.
	runtime.LockOSThread()

	ctx, fail := context.WithCancelCause(context.Background())
	defer fail(nil)
	stopOnRequest(opts.stopOnStdinEOF, fail)

	dir, err := enterStateDir(opts.dir)
	if err != nil {
		return err
	}
	if opts.dir == "" {
		defer func() {
			var failed *componentError
			if !errors.As(err, &failed) { // else the logs in it explain the failure
				_ = os.RemoveAll(dir)
			}
		}()
	}
	if err := lockStateDir(dir); err != nil {
		return err
	}
	if err := setLogsAside(); err != nil {
		return err
	}
	defer func() { err = explain(err, dir) }()

	sockets, err := openSockets(ctx, opts)
	if err != nil {
		return err
	}
	defer sockets.close()
	admin, err := writeStateDir(sockets.url, sockets.inside, opts.node)
	if err != nil {
		return err
	}
	client, connections, err := newClient(admin)
	if err != nil {
		return err
	}

	children := &children{fail: fail}
	var imported <-chan error
	if opts.node {
		if imported, err = startRuntime(ctx, children, opts.images); err != nil {
			return err
		}
	}
	progress("starting etcd")
	etcd, err := startEtcd(ctx)
	if err != nil {
		return unlessStopped(ctx, &componentError{"etcd", err})
	}
	defer etcd.Close()
	go watchEtcd(etcd, fail)
	defer children.stop()
	progress("starting the API server")
	err = children.start("apiserver", apiserverArgs(opts, sockets), sockets.files...)
	sockets.close() // from here on the port is as alive as the API server
	if err != nil {
		return err
	}
	startCtx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := waitForAPIServer(startCtx, client); err != nil {
		return unlessStopped(ctx, err)
	}
	progress("starting the controller manager")
	if err := children.start("kcm", controllerManagerArgs(opts.featureGates, opts.node)); err != nil {
		return err
	}
	if opts.node {
		progress("starting the node")
		if err := startNode(startCtx, children, client); err != nil {
			return unlessStopped(ctx, err)
		}
		if err := provisionVolumes(ctx, admin); err != nil {
			return err
		}
	}
	if err := waitForControllers(startCtx, client); err != nil {
		return unlessStopped(ctx, err)
	}
	if opts.node {
		if err := waitForNode(startCtx, client); err != nil {
			return unlessStopped(ctx, err)
		}
		progress("the node is ready")
		if err := <-imported; err != nil {
			return unlessStopped(ctx, err)
		}
		progress("images are there")
	}
	connections.CloseIdleConnections() // the API server waits for its clients when it stops
	crashes := make(chan os.Signal, 1)
	if opts.node {
		signal.Notify(crashes, crashSignal)
	}
	fmt.Printf("ready %s KUBECONFIG=%s\n", sockets.url, filepath.Join(dir, adminKubeconfig))

	for {
		select {
		case <-ctx.Done():
			return unlessStopped(ctx, context.Cause(ctx))
		case <-crashes:
			progress("the node crashes")
			if err := crash(ctx, children, client); err != nil {
				return unlessStopped(ctx, err)
			}
			progress("the node is ready again")
		}
	}
}

// stopOnRequest turns SIGTERM, SIGINT and, if wanted, the end of standard input into a cancellation.
func stopOnRequest(stdinEOF bool, fail context.CancelCauseFunc) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		<-signals
		signal.Stop(signals) // a second signal ends the process at once, and the kernel its children
		fail(errStopped)
	}()
	if stdinEOF {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			fail(errStopped)
		}()
	}
}

// unlessStopped returns err, or nil if the end was wanted.
func unlessStopped(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), errStopped) {
		return nil
	}
	return err
}

// explain adds to a component's error where its log is and how that ends.
func explain(err error, dir string) error {
	var failed *componentError
	if !errors.As(err, &failed) {
		return err
	}
	path := filepath.Join(dir, logFile(failed.component))
	return fmt.Errorf("%w (log: %s)\n%s", err, path, lastLines(failed.component, 15))
}

// enterStateDir makes dir, or a temporary directory if it is empty, the working directory and returns its path.
func enterStateDir(dir string) (string, error) {
	var err error
	if dir == "" {
		dir, err = os.MkdirTemp("", "controlplane-")
	} else {
		err = os.MkdirAll(dir, 0o700)
	}
	if err == nil {
		dir, err = filepath.Abs(dir)
	}
	if err == nil {
		err = os.Chdir(dir)
	}
	return dir, err
}

// lockStateDir refuses a directory that another control plane runs in. The lock ends with the process, however that
// ends, so it is never released.
func lockStateDir(dir string) error {
	fd, err := syscall.Open(lockFile, syscall.O_CREAT|syscall.O_RDWR|syscall.O_CLOEXEC, 0o600)
	if err == nil {
		err = syscall.Flock(fd, syscall.LOCK_EX|syscall.LOCK_NB)
	}
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return fmt.Errorf("another control plane runs in %s", dir)
	}
	return err
}

// writeStateDir writes what the children read, and the kubeconfig of the administrator, which it also returns. The
// authority and the key of the ServiceAccount tokens survive a restart; everything they sign is made anew.
func writeStateDir(url, inside string, node bool) (admin []byte, err error) {
	if err := os.MkdirAll(pkiDir, 0o700); err != nil {
		return nil, err
	}
	ca, err := loadAuthority(".")
	if err != nil {
		return nil, err
	}
	if _, err := loadKey(saKeyFile); err != nil {
		return nil, err
	}
	addresses, policy := []net.IP{loopback}, auditPolicy
	if node {
		if policy, err = nodeFiles.ReadFile("node/audit-policy.yaml"); err != nil {
			return nil, err
		}
		addresses = append(addresses, net.ParseIP(nodeAddress), net.ParseIP(apiserverServiceIP))
		if err := writeRunDir(ca, inside); err != nil {
			return nil, err
		}
		if err := writeNodeClient(ca); err != nil {
			return nil, err
		}
	}
	cert, key, err := ca.issueServing("kube-apiserver", addresses...)
	if err != nil {
		return nil, err
	}
	manager, err := kubeconfig(ca, inside, "system:kube-controller-manager")
	if err != nil {
		return nil, err
	}
	admin, err = kubeconfig(ca, inside, "admin", "system:masters")
	if err != nil {
		return nil, err
	}
	outside, err := kubeconfig(ca, url, "admin", "system:masters")
	if err != nil {
		return nil, err
	}
	return admin, errors.Join(
		writeFile(servingCert, cert),
		writeFile(servingKey, key),
		writeFile(managerKubeconfig, manager),
		writeFile(insideKubeconfig, admin),
		writeFile(adminKubeconfig, outside),
		writeFile(auditPolicyFile, policy),
	)
}

// sockets are what the API server serves on, and how it is reached. For a node, the first is the node's own, and the
// one for the machine was inherited.
type sockets struct {
	files  []*os.File
	port   int    // of the first
	inside string // URL in the network of the API server
	url    string // URL for the machine
}

func openSockets(ctx context.Context, opts upOptions) (*sockets, error) {
	own := &net.TCPAddr{IP: loopback, Port: opts.port}
	if opts.node {
		own = &net.TCPAddr{IP: net.ParseIP(nodeAddress), Port: nodePort}
	}
	listener, err := listen(ctx, own)
	if err != nil {
		return nil, err
	}
	defer listener.Close()
	socket, err := listener.File()
	if err != nil {
		return nil, err
	}
	url := "https://" + listener.Addr().String()
	opened := &sockets{[]*os.File{socket}, listener.Addr().(*net.TCPAddr).Port, url, url}
	if opts.node {
		syscall.CloseOnExec(3)
		opened.files = append(opened.files, os.NewFile(3, "listener"))
		opened.url = fmt.Sprintf("https://127.0.0.1:%d", opts.port)
	}
	return opened, nil
}

func (s *sockets) close() {
	for _, file := range s.files {
		_ = file.Close()
	}
}

// listen opens the API server's socket. A port asked for by number may still be held for a moment by the children of
// a control plane that has just been killed.
func listen(ctx context.Context, address *net.TCPAddr) (*net.TCPListener, error) {
	for deadline := time.Now().Add(3 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		listener, err := net.ListenTCP("tcp4", address)
		if err == nil || !errors.Is(err, syscall.EADDRINUSE) || time.Now().After(deadline) || ctx.Err() != nil {
			return listener, err
		}
	}
}

func watchEtcd(etcd *embed.Etcd, fail context.CancelCauseFunc) {
	if err, ok := <-etcd.Err(); ok {
		fail(&componentError{"etcd", fmt.Errorf("etcd ended: %w", err)})
	}
}

var started = time.Now()

func progress(what string) {
	fmt.Fprintf(os.Stderr, "controlplane: %.1fs %s\n", time.Since(started).Seconds(), what)
}
