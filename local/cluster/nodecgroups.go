package main

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// controlGroupPrefix begins the names of the groups of nodes; the id of the process "node" follows.
const controlGroupPrefix = "nbhd-node-"

// removeTimeout is how long the processes of a killed node may take to end.
const removeTimeout = 10 * time.Second

// hierarchy is a mounted tree of control groups.
type hierarchy struct {
	mountPoint string
	root       string // the group at the mount point
	kind       string // cgroup or cgroup2
	options    []string
}

// controlGroup is a group of a node in one hierarchy, and the group of "node" beside or above it.
type controlGroup struct {
	path string
	home string
}

type controlGroups []controlGroup

// hierarchies reads the trees that this process is in. Where those of the first version have controllers, the second,
// which is mounted beside them by some systems and has none then, is left out.
func hierarchies() ([]hierarchy, error) {
	file, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var found []hierarchy
	for lines := bufio.NewScanner(file); lines.Scan(); {
		// 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
		before, after, _ := strings.Cut(lines.Text(), " - ")
		mount, super := strings.Fields(before), strings.Fields(after)
		if len(mount) < 5 || len(super) < 3 || (super[0] != "cgroup" && super[0] != "cgroup2") {
			continue
		}
		tree := hierarchy{mountPoint: mount[4], root: mount[3], kind: super[0]}
		for _, option := range strings.Split(super[2], ",") {
			if option != "rw" && option != "ro" && !strings.HasPrefix(option, "release_agent=") {
				tree.options = append(tree.options, option)
			}
		}
		if !slices.ContainsFunc(found, func(h hierarchy) bool { return h.kind == tree.kind && slices.Equal(h.options, tree.options) }) {
			found = append(found, tree)
		}
	}
	if slices.ContainsFunc(found, func(h hierarchy) bool { return h.kind == "cgroup" }) {
		found = slices.DeleteFunc(found, func(h hierarchy) bool { return h.kind == "cgroup2" })
	}
	if len(found) == 0 {
		return nil, errors.New("no control groups are mounted")
	}
	return found, nil
}

// ownGroup returns the folder of the group that this process is in.
func (h hierarchy) ownGroup() (string, error) {
	data, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	for _, line := range strings.Split(strings.TrimSpace(string(data)), "\n") { // 4:cpu,cpuacct:/path
		fields := strings.SplitN(line, ":", 3)
		if len(fields) != 3 {
			continue
		}
		controllers := strings.Split(fields[1], ",")
		if h.kind == "cgroup2" && fields[0] == "0" || h.kind == "cgroup" && slices.Contains(h.options, controllers[0]) {
			inside, err := filepath.Rel(h.root, fields[2])
			if err != nil || strings.HasPrefix(inside, "..") {
				return h.mountPoint, nil // outside of what is mounted: as near as one gets
			}
			return filepath.Join(h.mountPoint, inside), nil
		}
	}
	return "", fmt.Errorf("%s: this process is in none of its groups", h.mountPoint)
}

// createControlGroups makes a group for a new node in every hierarchy, and removes those of nodes that are dead.
func createControlGroups() (groups controlGroups, err error) {
	trees, err := hierarchies()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, groups.remove())
		}
	}()
	for _, tree := range trees {
		home, err := tree.ownGroup()
		if err != nil {
			return groups, err
		}
		parent := home
		if tree.kind == "cgroup2" {
			parent = tree.mountPoint // only there may a group with processes pass controllers on
		}
		removeStale(parent)
		path := filepath.Join(parent, controlGroupPrefix+strconv.Itoa(os.Getpid()))
		if err := os.Mkdir(path, 0o755); err != nil {
			return groups, err
		}
		groups = append(groups, controlGroup{path, home})
		if slices.Contains(tree.options, "cpuset") { // a new one is empty, and takes no process before it is filled
			for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
				value, err := os.ReadFile(filepath.Join(parent, name))
				if err == nil {
					err = os.WriteFile(filepath.Join(path, name), value, 0o644)
				}
				if err != nil {
					return groups, err
				}
			}
		}
	}
	return groups, nil
}

func removeStale(parent string) {
	old, _ := filepath.Glob(filepath.Join(parent, controlGroupPrefix+"*"))
	for _, path := range old {
		pid, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(path), controlGroupPrefix))
		if err == nil && (pid == os.Getpid() || errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)) { // numbers come round
			_ = removeTree(path)
		}
	}
}

func (g controlGroups) paths() []string {
	paths := make([]string, len(g))
	for i, group := range g {
		paths[i] = group.path
	}
	return paths
}

// join moves this process into the groups.
func (g controlGroups) join() error {
	var errs []error
	for _, group := range g {
		errs = append(errs, enterGroup(group.path))
	}
	return errors.Join(errs...)
}

// leave moves this process back to where it came from.
func (g controlGroups) leave() error {
	var errs []error
	for _, group := range g {
		errs = append(errs, enterGroup(group.home))
	}
	return errors.Join(errs...)
}

func enterGroup(path string) error {
	return os.WriteFile(filepath.Join(path, "cgroup.procs"), []byte("0"), 0o644)
}

// remove kills what is left in the groups and removes them.
func (g controlGroups) remove() error {
	deadline := time.Now().Add(removeTimeout)
	for {
		var errs []error
		for _, group := range g {
			errs = append(errs, killAll(group.path), removeTree(group.path))
		}
		if err := errors.Join(errs...); err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(10 * time.Millisecond) // nothing tells when the last process has left a group
	}
}

func killAll(root string) error {
	return walkGroups(root, func(path string) error {
		data, err := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		for _, field := range strings.Fields(string(data)) {
			if pid, err := strconv.Atoi(field); err == nil && pid > 0 {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		return err
	})
}

func removeTree(root string) error {
	return walkGroups(root, syscall.Rmdir)
}

// walkGroups calls visit for the group and all below it, the deepest first.
func walkGroups(root string, visit func(path string) error) error {
	entries, err := os.ReadDir(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	errs := []error{err}
	for _, entry := range entries {
		if entry.IsDir() {
			errs = append(errs, walkGroups(filepath.Join(root, entry.Name()), visit))
		}
	}
	if err := visit(root); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENODEV) {
		errs = append(errs, fmt.Errorf("%s: %w", root, err))
	}
	return errors.Join(errs...)
}
