// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"obstack.dev/obstack/test/testenv"
)

// bashCompletion is what kubectl's completion needs in bash.
const bashCompletion = "/usr/share/bash-completion/bash_completion"

// needShells skips where there are none, but fails where they were asked for.
func needShells(t *testing.T) {
	t.Helper()
	_, zsh := exec.LookPath("zsh")
	_, script := exec.LookPath("script")
	_, completion := os.Stat(bashCompletion)
	if zsh == nil && script == nil && completion == nil {
		return
	}
	if os.Getenv("OBSTACK_INTEGRATION") != "" {
		t.Fatalf("no shells to complete in: zsh %v, script %v, bash-completion %v", zsh, script, completion)
	}
	t.Skip("SKIPPED, NOT TESTED: no zsh, script or bash-completion; run make test-integration")
}

// terminal is what a shell has written to one, as far as it was looked at.
type terminal struct {
	lock sync.Mutex
	text bytes.Buffer
	keys io.Writer
}

func (s *terminal) Write(text []byte) (int, error) {
	s.lock.Lock()
	defer s.lock.Unlock()
	return s.text.Write(text)
}

// wait until the shell has written a text, and return what it wrote until then.
func (s *terminal) wait(t *testing.T, text string) string {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		s.lock.Lock()
		before, after, found := strings.Cut(s.text.String(), text)
		if found {
			s.text.Reset()
			s.text.WriteString(after)
		}
		s.lock.Unlock()
		if found {
			return before
		}
		if time.Now().After(deadline) {
			t.Fatalf("the shell did not write %q, but %q", text, before)
		}
	}
}

// press keys, and then show the line as the shell would run it.
func (s *terminal) press(t *testing.T, keys string) string {
	t.Helper()
	const beginning, enter = "\x01", "\r"
	fmt.Fprint(s.keys, keys+beginning+"printf 'LINE[%s]\\n' '"+"\x05"+"'"+enter)
	s.wait(t, "\nLINE[")
	line := s.wait(t, "]")
	s.wait(t, "READY>")
	return strings.TrimSpace(line)
}

// startShell on a terminal, with kubectl, the plugin and its completion on the PATH.
func startShell(t *testing.T, plane *testenv.ControlPlane, bin, shell string) *terminal {
	t.Helper()
	command := exec.Command("script", "--quiet", "--flush", "--command", shell, os.DevNull)
	command.Env = []string{
		"PATH=" + bin + ":/usr/bin:/bin", "HOME=" + t.TempDir(), "KUBECONFIG=" + plane.Kubeconfig, "TERM=dumb", "PS1=READY> ",
	}
	keys, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	s := &terminal{keys: keys}
	command.Stdout = s
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		fmt.Fprint(keys, "exit\r")
		keys.Close()
		if err := command.Wait(); err != nil {
			t.Errorf("%s: %v", shell, err)
		}
	})
	s.wait(t, "READY>")
	return s
}

// programs that the shells find: kubectl, the plugin, and the script that completes it.
func programs(t *testing.T) string {
	t.Helper()
	bin := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-ldflags=-s -w", "-o", bin, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the plugin: %v\n%s", err, output)
	}
	assets, err := testenv.Assets(t.Context(), os.Stderr, testenv.Kubectl)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(assets, "kubectl"), filepath.Join(bin, "kubectl")); err != nil {
		t.Fatal(err)
	}
	completion, _, _ := kubectlObstack(t, "", "completion")
	script := filepath.Join(bin, "kubectl_complete-obstack")
	if err := os.WriteFile(script, []byte(completion), 0o700); err != nil { // #nosec G306 -- it is a program
		t.Fatal(err)
	}
	return bin
}

// TestCompletionInShells presses keys in real shells, in which only kubectl's completion is on.
func TestCompletionInShells(t *testing.T) {
	needShells(t)
	plane, api := testenv.Start(t, testenv.Options{})
	testenv.Create(t, api, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}})
	createStack(t, api, "healthy")
	labels := map[string]string{"app": "shop-api"}
	testenv.Create(t, api, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "shop-api"},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "api", Image: "example.com/api"}}},
			},
		},
	})
	bin := programs(t)
	for name, test := range map[string]struct{ shell, setup string }{
		"bash": {"bash --norc --noprofile -i", "source " + bashCompletion + "; source <(kubectl completion bash)"},
		"zsh":  {"zsh -f -i", "autoload -U compinit; compinit -u; source <(kubectl completion zsh)"},
	} {
		t.Run(name, func(t *testing.T) {
			shell := startShell(t, plane, bin, test.shell)
			fmt.Fprintf(shell.keys, "%s\r", test.setup)
			shell.wait(t, "READY>")
			for typed, want := range map[string]string{
				"kubectl obstack sta":                          "kubectl obstack status",
				"kubectl obstack status --all-n":               "kubectl obstack status --all-namespaces",
				"kubectl obstack status -o w":                  "kubectl obstack status -o wide",
				"kubectl obstack status -n sh":                 "kubectl obstack status -n shop",
				"kubectl obstack status -n shop hea":           "kubectl obstack status -n shop healthy",
				"kubectl obstack explain -n shop depl":         "kubectl obstack explain -n shop deployment/",
				"kubectl obstack explain -n shop deployment/s": "kubectl obstack explain -n shop deployment/shop-api",
				"kubectl obstack help rend":                    "kubectl obstack help render",
			} {
				if got := shell.press(t, typed+"\t"); got != want {
					t.Errorf("%q becomes %q, want %q", typed, got, want)
				}
			}
		})
	}
}
