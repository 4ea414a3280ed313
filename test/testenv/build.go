// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

const (
	kubernetesModule = "k8s.io/kubernetes"
	kwokModule       = "sigs.k8s.io/kwok"
)

// buildable says where a program is built from.
type buildable struct {
	Program
	pkg   string
	takes string // measured on two cores, with an empty build cache
	tags  string // for go build
}

// The folders of the go.mod files, below the checkout: one for each version of Kubernetes, and one
// for KWOK, which goes with all of them.
const (
	controlplaneDir = "hack/controlplane"
	kwokDir         = "hack/controlplane/kwok"
)

// sources are in the order in which they are built: kube-apiserver compiles most
// of what the ones after it need.
var sources = []buildable{
	{Program: Etcd, pkg: "go.etcd.io/etcd/server/v3", takes: "1 minute"},
	{Program: APIServer, pkg: kubernetesModule + "/cmd/kube-apiserver", takes: "5 minutes"},
	{Program: Kubectl, pkg: kubernetesModule + "/cmd/kubectl", takes: "half a minute"},
	{Program: ControllerManager, pkg: kubernetesModule + "/cmd/kube-controller-manager", takes: "1 minute"},
	{Program: Scheduler, pkg: kubernetesModule + "/cmd/kube-scheduler", takes: "half a minute"},
	{Program: KWOK, pkg: kwokModule + "/cmd/kwok", takes: "1.5 minutes"},
}

// builder fills the folder of the cache that belongs to one version of Kubernetes.
type builder struct {
	root    string
	dir     string
	module  string // of Kubernetes: the folder of its go.mod, below the checkout
	version string // of Kubernetes, such as v1.37.2
	log     io.Writer
}

func newBuilder(root string, log io.Writer) (*builder, error) {
	module, err := kubernetesDir(root)
	if err != nil {
		return nil, err
	}
	version, err := requiredVersion(filepath.Join(root, module, "go.mod"), kubernetesModule)
	if err != nil {
		return nil, err
	}
	dir, err := versionDir(root, version, module, kwokDir)
	if err != nil {
		return nil, err
	}
	return &builder{root: root, dir: dir, module: module, version: version, log: log}, nil
}

// versionDir is the folder of the cache for what these modules, folders of the checkout, require.
func versionDir(root, version string, modules ...string) (string, error) {
	hash := sha256.New()
	for _, module := range modules {
		for _, file := range []string{"go.mod", "go.sum"} {
			content, err := os.ReadFile(filepath.Join(root, module, file))
			if err != nil {
				return "", fmt.Errorf("read the versions of what is to be built: %w", err)
			}
			hash.Write(content)
		}
	}
	cache, err := cacheDir()
	return filepath.Join(cache, version+"-"+hex.EncodeToString(hash.Sum(nil)[:4])), err
}

// build builds the programs into the folder, one after the other.
func (b *builder) build(ctx context.Context, programs []Program) error {
	if len(programs) == 0 {
		return nil
	}
	b.say("building the control plane from its Go modules into %s\n"+
		"  this happens once and takes minutes; later runs find it there", b.dir)
	for _, s := range sources {
		if !slices.Contains(programs, s.Program) {
			continue
		}
		if s.Program == KWOK {
			if err := b.copyStages(ctx); err != nil {
				return err
			}
		}
		if err := b.buildOne(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// buildOne builds one program under another name and renames it when it is complete.
func (b *builder) buildOne(ctx context.Context, s buildable) error {
	b.say("building %s (about %s the first time)", s.Program, s.takes)
	start := time.Now()
	temporary := filepath.Join(b.dir, "."+string(s.Program))
	output := &progress{}
	cmd := exec.CommandContext(ctx, "go", "build", "-v", "-trimpath", "-tags", s.tags, "-ldflags", b.ldflags(s),
		"-o", temporary, s.pkg)
	cmd.Dir = filepath.Join(b.root, b.module)
	if s.Program == KWOK {
		cmd.Dir = filepath.Join(b.root, kwokDir)
	}
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOOS=", "GOARCH=")
	cmd.Stdout, cmd.Stderr = output, output
	interruptOnCancel(cmd)
	stop := b.report(s.Program, output, start)
	err := cmd.Run()
	stop()
	if err != nil {
		return fmt.Errorf("build %s: %w\n%s", s.Program, err, output.tail())
	}
	if err := keep(temporary, filepath.Join(b.dir, string(s.Program))); err != nil {
		return err
	}
	b.say("built %s in %s", s.Program, time.Since(start).Round(time.Second))
	return nil
}

// interruptOnCancel lets go remove its temporary folders when the context ends.
func interruptOnCancel(cmd *exec.Cmd) {
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = stopTimeout
}

// ldflags leave out what only a debugger needs and state the version, without
// which the API server calls itself v0.0.0 and charts refuse it.
func (b *builder) ldflags(s buildable) string {
	flags := []string{"-s", "-w"}
	if !strings.HasPrefix(s.pkg, kubernetesModule+"/") {
		return strings.Join(flags, " ")
	}
	number := strings.Split(strings.TrimPrefix(b.version, "v"), ".")
	for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		flags = append(flags, "-X "+pkg+".gitVersion="+b.version, "-X "+pkg+".gitMajor="+number[0],
			"-X "+pkg+".gitMinor="+number[1])
	}
	return strings.Join(flags, " ")
}

func (b *builder) say(format string, args ...any) {
	_, _ = fmt.Fprintf(b.log, format+"\n", args...)
}

// report says every few seconds how far a build is, until the returned function is called.
func (b *builder) report(program Program, output *progress, start time.Time) func() {
	ticker := time.NewTicker(10 * time.Second)
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-ticker.C:
				b.say("  %s: %d packages compiled, %s", program, output.lines.Load(), time.Since(start).Round(time.Second))
			case <-done:
				return
			}
		}
	}()
	return func() {
		ticker.Stop()
		close(done)
	}
}

// progress counts the lines of go build -v, one per compiled package, and keeps
// the last ones, which say what went wrong.
type progress struct {
	lines atomic.Int64
	last  bytes.Buffer
}

func (p *progress) Write(data []byte) (int, error) {
	p.lines.Add(int64(bytes.Count(data, []byte("\n"))))
	return p.last.Write(data)
}

func (p *progress) tail() string { return lastLines(p.last.String()) }

// lastLines of what a program printed, which say what went wrong.
func lastLines(text string) string {
	const most = 20
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-most):], "\n")
}
