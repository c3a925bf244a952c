package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// runDir holds what is made anew at each start of a node; its credentials are nowhere else.
const runDir = "/run/node"

// stateFolders are those of the state directory that a node sees in the usual places.
var stateFolders = []string{"containerd", "kubelet", "pods"}

// mountAll changes what the processes of this mount namespace see, and nothing else on the machine: /proc, /sys and
// /run are new, and so is every folder elsewhere that a part of the node writes to without asking.
func mountAll(dir, cni string) error {
	trees, err := hierarchies()
	if err != nil {
		return err
	}
	state, err := os.Open(dir) // by its path it may be hidden soon
	if err != nil {
		return err
	}
	defer state.Close()
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("separating the mounts: %w", err)
	}
	const usual = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := mountNew("proc", "/proc", usual, ""); err != nil {
		return err
	}
	if err := mountNew("sysfs", "/sys", usual, ""); err != nil {
		return err
	}
	if err := mountControlGroups(trees); err != nil {
		return err
	}
	if err := mountNew("tmpfs", "/run", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return err
	}
	for _, folder := range []string{runDir, "/run/netns", "/run/containerd"} {
		if err := os.MkdirAll(folder, 0o711); err != nil {
			return err
		}
	}
	if err := os.Symlink(cni, filepath.Join(runDir, "cni")); err != nil {
		return err
	}
	if err := replace("/var/lib", "containerd", "kubelet", "cni"); err != nil {
		return err
	}
	if err := replace("/var/log", "pods", "containers"); err != nil {
		return err
	}
	for i, place := range []string{"/var/lib/containerd", "/var/lib/kubelet", "/var/log/pods"} {
		if err := bind(fmt.Sprintf("/proc/self/fd/%d/%s", state.Fd(), stateFolders[i]), place); err != nil {
			return err
		}
	}
	return nil
}

// mountControlGroups shows in the usual place the groups below that of the node, as if it were the only one.
func mountControlGroups(trees []hierarchy) error {
	const root = "/sys/fs/cgroup"
	if trees[0].kind == "cgroup2" {
		if err := mountNew("cgroup2", root, 0, ""); err != nil {
			return err
		}
		// A group with processes may not pass its controllers on: they move to one of their own.
		leaf := filepath.Join(root, nodeInit)
		if err := os.Mkdir(leaf, 0o755); err != nil {
			return err
		}
		if err := enterGroup(leaf); err != nil {
			return err
		}
		controllers, err := os.ReadFile(filepath.Join(root, "cgroup.controllers"))
		if err != nil {
			return err
		}
		wanted := ""
		for _, controller := range strings.Fields(string(controllers)) {
			wanted += " +" + controller
		}
		return os.WriteFile(filepath.Join(root, "cgroup.subtree_control"), []byte(strings.TrimSpace(wanted)), 0o644)
	}
	if err := mountNew("tmpfs", root, 0, "mode=755"); err != nil {
		return err
	}
	for _, tree := range trees {
		options := strings.Join(tree.options, ",")
		if strings.HasPrefix(options, "name=") {
			options = "none," + options
		}
		name := filepath.Base(tree.mountPoint)
		if err := mountNew("cgroup", filepath.Join(root, name), 0, options); err != nil {
			return err
		}
		if parts := strings.Split(name, ","); len(parts) > 1 { // cpu and cpuacct are links to cpu,cpuacct
			for _, part := range parts {
				if err := os.Symlink(name, filepath.Join(root, part)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// replace puts a folder in memory in the place of dir, with the same entries but for the named ones, which are new and
// empty: what is made there later is the node's only.
func replace(dir string, fresh ...string) error {
	old, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer old.Close()
	entries, err := old.ReadDir(-1)
	if err != nil {
		return err
	}
	if err := mountNew("tmpfs", dir, unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return err
	}
	for _, name := range fresh {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			return err
		}
	}
	for _, entry := range entries {
		source, target := "/proc/self/fd/"+strconv.Itoa(int(old.Fd()))+"/"+entry.Name(), filepath.Join(dir, entry.Name())
		if slices.Contains(fresh, entry.Name()) {
			continue
		}
		switch {
		case entry.IsDir():
			err = os.Mkdir(target, 0o755)
		case entry.Type()&fs.ModeSymlink != 0:
			var to string
			if to, err = os.Readlink(source); err == nil {
				err = os.Symlink(to, target)
			}
		default:
			err = os.WriteFile(target, nil, 0o644)
		}
		if err == nil && entry.Type()&fs.ModeSymlink == 0 {
			err = bind(source, target)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func bind(source, target string) error {
	if err := unix.Mount(source, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("showing %s: %w", target, err)
	}
	return nil
}

func mountNew(kind, target string, flags uintptr, options string) error {
	if err := os.MkdirAll(target, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(kind, target, kind, flags, options); err != nil {
		return fmt.Errorf("mounting %s on %s (%s): %w", kind, target, options, err)
	}
	return nil
}
