package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
)

// stopGrace is how long the children may take to stop by themselves: enough to finish the requests in hand, while the
// API server would go on to wait for its own watches. Killing it then is harmless: what it has acknowledged is in etcd.
const stopGrace = 500 * time.Millisecond

// child is a component that runs as a process of its own.
type child struct {
	name   string
	cmd    *exec.Cmd
	ended  chan struct{} // closed when the process has been reaped
	doomed chan struct{} // closed before the process is ended on purpose
}

// children are the processes of one "up". All of them are started by the goroutine that called newChildren.
type children struct {
	running []*child
	fail    context.CancelCauseFunc
}

// start re-executes this binary as the component name, with its output in NAME.log. The end of the process, for
// whatever reason, cancels the context of "up".
func (c *children) start(name string, args []string, inherited ...*os.File) error {
	cmd := exec.Command("/proc/self/exe", args...) // not by path: the file may have been replaced since
	cmd.Args[0] = name                             // the component's name, by which main dispatches
	cmd.ExtraFiles = inherited
	return c.run(name, cmd)
}

// startProgram does the same with a program from PATH.
func (c *children) startProgram(name string, args ...string) error {
	return c.run(name, exec.Command(name, args...))
}

func (c *children) run(name string, cmd *exec.Cmd) error {
	log, err := os.OpenFile(logFile(name), os.O_CREATE|os.O_EXCL|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{
		// The kernel kills the child when the thread that started it ends, so that a SIGKILL leaves no orphan.
		Pdeathsig: syscall.SIGKILL,
		// A Ctrl-C goes to the foreground process group: "up" alone shall get it and stop things in order.
		Setpgid: true,
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	started := &child{name: name, cmd: cmd, ended: make(chan struct{}), doomed: make(chan struct{})}
	c.running = append(c.running, started)
	go func() {
		_ = cmd.Wait()
		close(started.ended)
		select {
		case <-started.doomed:
			return
		default:
		}
		c.fail(&componentError{name, fmt.Errorf("%s ended: %s", name, cmd.ProcessState)})
	}()
	return nil
}

// kill ends the named children at once, which is no failure, and returns when they are gone and may be started again.
func (c *children) kill(names ...string) error {
	var errs []error
	c.running = slices.DeleteFunc(c.running, func(child *child) bool {
		if !slices.Contains(names, child.name) {
			return false
		}
		close(child.doomed)
		_ = child.cmd.Process.Kill()
		<-child.ended
		errs = append(errs, setLogAside(child.name))
		return true
	})
	return errors.Join(errs...)
}

// pids are the processes of all children.
func (c *children) pids() []int {
	var found []int
	for _, child := range c.running {
		found = append(found, child.cmd.Process.Pid)
	}
	return found
}

// stop ends all children and returns when the last one is gone.
func (c *children) stop() {
	for _, child := range c.running {
		_ = child.cmd.Process.Signal(syscall.SIGTERM)
	}
	grace := time.NewTimer(stopGrace)
	defer grace.Stop()
	for _, child := range c.running {
		select {
		case <-child.ended:
			continue
		case <-grace.C:
			grace.Reset(0) // the time is up for the others too
		}
		_ = child.cmd.Process.Kill()
		<-child.ended
	}
}

func logFile(component string) string { return component + ".log" }

// setLogsAside keeps the logs of the run before this one, so that each log tells of one run.
func setLogsAside() error {
	for _, component := range []string{
		"etcd", "apiserver", "kcm", "containerd", "kubelet", "scheduler", "kubeproxy", "coredns",
	} {
		if err := setLogAside(component); err != nil {
			return err
		}
	}
	return nil
}

func setLogAside(component string) error {
	err := os.Rename(logFile(component), logFile(component)+".old")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// componentError is an error whose explanation is in the log of a component.
type componentError struct {
	component string
	err       error
}

func (e *componentError) Error() string { return e.err.Error() }
func (e *componentError) Unwrap() error { return e.err }

// lastLines returns the last n lines of the log of a component.
func lastLines(component string, n int) string {
	data, err := os.ReadFile(logFile(component))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
