// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

const (
	// reachTimeout bounds the question whether there is an internet: a firewall
	// that drops packets must not cost more.
	reachTimeout = 3 * time.Second
	// downloadTimeout bounds the download, after which building is no slower.
	downloadTimeout = 3 * time.Minute
)

// download fetches etcd, kube-apiserver and kubectl with setup-envtest, which is
// minutes faster than building them. It reports whether it did; if not, the
// programs are built, so the reason does not matter.
func (b *builder) download(ctx context.Context) bool {
	if !reachable(ctx, envtest.DefaultBinaryAssetsIndexURL) {
		return false
	}
	b.say("fetching etcd, kube-apiserver and kubectl with setup-envtest (at most %s)", downloadTimeout)
	ctx, cancel := context.WithTimeout(ctx, downloadTimeout)
	defer cancel()
	dir, err := os.MkdirTemp(b.dir, ".setup-envtest-")
	if err != nil {
		return false
	}
	defer func() { _ = os.RemoveAll(dir) }()
	setup, err := Tool(ctx, "setup-envtest")
	if err != nil {
		return false
	}
	minor := b.version[1:strings.LastIndex(b.version, ".")]
	cmd := exec.CommandContext(ctx, setup, "use", minor+".x", "--bin-dir", dir, "-p", "path")
	interruptOnCancel(cmd)
	output, err := cmd.Output()
	if err != nil {
		b.say("setup-envtest could not fetch them")
		return false
	}
	for _, p := range []Program{Etcd, APIServer, Kubectl} {
		fetched := filepath.Join(strings.TrimSpace(string(output)), string(p))
		if err := keep(fetched, filepath.Join(b.dir, string(p))); err != nil {
			return false
		}
	}
	return true
}

// reachable reports whether url responds soon.
func reachable(ctx context.Context, url string) bool {
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodHead, url, nil)
	if err != nil {
		return false
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK
}
