package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
)

// cleaner is the process that removes what a node leaves behind. It does so when the pipe to it closes, which happens
// even when "node" is killed: namespaces end with their processes, control groups do not.
type cleaner struct {
	cmd      *exec.Cmd
	lifeline *os.File
}

func startJanitor(groups controlGroups) (*cleaner, error) {
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	cmd := exec.Command("/proc/self/exe", groups.paths()...)
	cmd.Args[0] = janitor
	cmd.Stdin, cmd.Stderr = reader, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // no signal that is meant for "node" reaches it
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, writer.Close())
	}
	return &cleaner{cmd, writer}, nil
}

// finish returns when everything is gone.
func (c *cleaner) finish() error {
	return errors.Join(c.lifeline.Close(), c.cmd.Wait())
}

// janitorMain waits for the end of its input and then removes the control groups that are its arguments.
func janitorMain() int {
	_, _ = io.Copy(io.Discard, os.Stdin)
	groups := make(controlGroups, len(os.Args)-1)
	for i, path := range os.Args[1:] {
		groups[i] = controlGroup{path: path}
	}
	if err := groups.remove(); err != nil {
		fmt.Fprintln(os.Stderr, "controlplane:", err)
		return 1
	}
	return 0
}
