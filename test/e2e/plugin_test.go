// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"obstack.dev/obstack/test/testenv"
)

// buildPlugin builds kubectl-obstack of this checkout, once.
var buildPlugin = sync.OnceValues(func() (string, error) {
	root, err := testenv.Root()
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "obstack-plugin-") // in the folder that hack/e2e.sh removes
	if err != nil {
		return "", err
	}
	program := filepath.Join(dir, "kubectl-obstack")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Dir = filepath.Join(root, "cmd", "kubectl-obstack")
	if output, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the plugin: %w\n%s", err, output)
	}
	return program, nil
})

// plugin is a command of kubectl-obstack in the cluster.
func (c *cluster) plugin(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	program, err := buildPlugin()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), program, args...) // #nosec G204 -- the test's
	command.Env = append(os.Environ(), "KUBECONFIG="+c.kubeconfig)
	return command
}

// verify runs kubectl obstack verify on a stack that has the name of its namespace, and returns
// what it prints and whether all is well.
func (c *cluster) verify(t *testing.T, stack string, timeout time.Duration) (output string, well bool) {
	t.Helper()
	say("kubectl obstack verify, for at most %s", timeout)
	text, err := c.plugin(t, "verify", stack, "-n", stack, "--timeout", timeout.String()).CombinedOutput()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		t.Fatal(err)
	}
	c.leavesNoPod(t, stack)
	return string(text), err == nil
}

func (c *cluster) leavesNoPod(t *testing.T, namespace string) {
	t.Helper()
	pods := &corev1.PodList{}
	err := c.List(t.Context(), pods, client.InNamespace(namespace),
		client.MatchingLabels{"app.kubernetes.io/name": "obstack-verify"})
	if err != nil {
		t.Error(err)
	}
	for _, pod := range pods.Items {
		if pod.DeletionTimestamp == nil {
			t.Errorf("Pod %s is left", pod.Name)
		}
	}
}

// testVerify sees all of it now, by asking instead of by the status, and counts nothing that it
// does.
func (c *cluster) testVerify(t *testing.T) {
	before, err := c.stack(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	counted := make(chan string, 1)
	go func() {
		wrong := ""
		for ctx.Err() == nil {
			now, err := c.stack(ctx)
			if err == nil && now.Status.Workloads.Annotated != before.Status.Workloads.Annotated {
				wrong = fmt.Sprintf("%d workloads are counted, want %d", now.Status.Workloads.Annotated,
					before.Status.Workloads.Annotated)
			}
			time.Sleep(200 * time.Millisecond)
		}
		counted <- wrong
	}()
	output, well := c.verify(t, "shop", 2*time.Minute)
	stop()
	if wrong := <-counted; wrong != "" {
		t.Error(wrong)
	}
	if !well {
		t.Fatalf("it is not well:\n%s", output)
	}
	t.Log(output)
	for _, want := range []string{
		"monitor api: scraped (", "broker main: scraped (", "alerts: its rules are loaded (",
		"slo api-works: its rules are loaded",
		// Of a worker that was replaced without a word the exporter knows only after minutes.
		"workers of broker main: ", " replies and events come (",
		"test events were accepted twice",
	} {
		if !strings.Contains(output, want) {
			t.Errorf("the output lacks %q:\n%s", want, output)
		}
	}
}

// failsToVerify wants the sentence about a fault from those who ask now.
func (c *cluster) failsToVerify(t *testing.T, sentence string) {
	t.Helper()
	output, well := c.verify(t, "shop", 20*time.Second)
	// Lines are wrapped within a tree.
	isLayout := func(r rune) bool { return strings.ContainsRune(" \n│├└─", r) }
	said := strings.Join(strings.FieldsFunc(output, isLayout), " ")
	if well || !strings.Contains(said, sentence) {
		t.Errorf("verify (all well: %v) lacks %q:\n%s", well, sentence, output)
	}
}
