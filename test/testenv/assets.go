// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
)

// Program is the file name of a program of the control plane.
type Program string

// The programs that Assets provides.
const (
	Etcd              Program = "etcd"
	APIServer         Program = "kube-apiserver"
	ControllerManager Program = "kube-controller-manager"
	Scheduler         Program = "kube-scheduler"
	Kubectl           Program = "kubectl"
	// KWOK simulates nodes. Beside it lies kwokStages.
	KWOK Program = "kwok"
)

// envAssets is the variable by which all users of envtest name their own programs.
const envAssets = "KUBEBUILDER_ASSETS"

// Assets is a folder that holds the programs, all of them if none are named.
// What KUBEBUILDER_ASSETS holds is taken from there. The rest comes from a cache
// outside the checkout, which the first call fills: by setup-envtest where the
// internet can be reached, else by building from the modules under
// hack/controlplane, which takes minutes and is reported to log. KUBERNETES_VERSION
// chooses among the versions there.
func Assets(ctx context.Context, log io.Writer, programs ...Program) (string, error) {
	if len(programs) == 0 {
		programs = []Program{Etcd, APIServer, ControllerManager, Scheduler, Kubectl, KWOK}
	}
	for _, p := range programs {
		if !slices.ContainsFunc(sources, func(s buildable) bool { return s.Program == p }) {
			return "", fmt.Errorf("%q is no program of the control plane", p)
		}
	}
	given := os.Getenv(envAssets)
	missing := absent(given, programs)
	if !slices.Contains(missing, APIServer) && slices.Contains(programs, APIServer) {
		if err := checkVersion(ctx, given); err != nil {
			return "", err
		}
	}
	if len(missing) == 0 {
		return given, nil
	}
	cached, err := cachedAssets(ctx, log, missing)
	if err != nil {
		return "", err
	}
	if len(missing) == len(programs) {
		return cached, nil
	}
	return join(given, cached, programs, missing)
}

// absent are the programs that dir, which somebody else has filled, does not hold.
func absent(dir string, programs []Program) []Program {
	if dir == "" {
		return programs
	}
	return lacking(dir, programs, func(path string) bool {
		info, err := os.Stat(path)
		return err == nil && info.Mode().IsRegular() && info.Size() > 0
	})
}

// lacking are the programs of which dir does not hold every file, as good reports.
func lacking(dir string, programs []Program, good func(path string) bool) []Program {
	return slices.DeleteFunc(slices.Clone(programs), func(p Program) bool {
		return good(filepath.Join(dir, string(p))) && (p != KWOK || good(filepath.Join(dir, kwokStages)))
	})
}

// cachedAssets is the folder of the cache, with the programs in it.
func cachedAssets(ctx context.Context, log io.Writer, programs []Program) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	b, err := newBuilder(root, log)
	if err != nil {
		return "", err
	}
	if len(lacking(b.dir, programs, intact)) == 0 {
		return b.dir, nil
	}
	unlock, err := lock(ctx, b.dir, log)
	if err != nil {
		return "", err
	}
	defer unlock()
	// Looked at again: whoever held the lock may have built them.
	missing := lacking(b.dir, programs, intact)
	if slices.Contains(missing, APIServer) && b.download(ctx) {
		missing = lacking(b.dir, programs, intact)
	}
	return b.dir, b.build(ctx, missing)
}

// join is a folder that links to the given programs, and to those of the cache
// that are missing among them.
func join(given, cached string, programs, missing []Program) (string, error) {
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(given + "\n" + cached))
	dir := filepath.Join(cache, "joined-"+hex.EncodeToString(sum[:4]))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("join %s with the cache: %w", given, err)
	}
	for _, p := range programs {
		from := given
		if slices.Contains(missing, p) {
			from = cached
		}
		if err := link(filepath.Join(from, string(p)), filepath.Join(dir, string(p))); err != nil {
			return "", err
		}
	}
	if slices.Contains(missing, KWOK) {
		return dir, link(filepath.Join(cached, kwokStages), filepath.Join(dir, kwokStages))
	}
	return dir, nil
}

// link makes name a symbolic link to target, in one step, because other
// processes may be using the link meanwhile.
func link(target, name string) error {
	target, err := filepath.Abs(target)
	if err != nil {
		return fmt.Errorf("link %s: %w", name, err)
	}
	temporary := fmt.Sprintf("%s.%d", name, os.Getpid())
	if err := os.Symlink(target, temporary); err != nil {
		return fmt.Errorf("link %s: %w", name, err)
	}
	return os.Rename(temporary, name)
}
