// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/test/testenv"
)

// watching is a running kubectl obstack status -w.
type watching struct {
	lines chan string
	ended chan int
	stop  context.CancelFunc
}

// startWatching with further arguments, of which each line on either stream is read.
func startWatching(t *testing.T, args ...string) *watching {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testenv.Timeout)
	t.Cleanup(cancel)
	read, write := io.Pipe()
	w := &watching{lines: make(chan string, 1000), ended: make(chan int, 1), stop: cancel}
	go func() {
		streams := genericiooptions.IOStreams{In: strings.NewReader(""), Out: write, ErrOut: write}
		w.ended <- run(ctx, append([]string{"status", "-w", "-n", "shop"}, args...), streams)
		_ = write.Close()
	}()
	go func() {
		defer close(w.lines)
		for scanner := bufio.NewScanner(read); scanner.Scan(); {
			w.lines <- scanner.Text()
		}
	}()
	return w
}

// until a line says something; it returns all up to it.
func (w *watching) until(t *testing.T, says string) (lines []string) {
	t.Helper()
	for line := range w.lines {
		lines = append(lines, line)
		if strings.Contains(line, says) {
			return lines
		}
	}
	t.Fatalf("it ended, and never said %q:\n%s", says, strings.Join(lines, "\n"))
	return nil
}

// wantEnd by Ctrl-C, and by nothing else.
func (w *watching) wantEnd(t *testing.T) {
	t.Helper()
	select {
	case code := <-w.ended:
		t.Errorf("it ended by itself with %d", code)
	default:
		w.stop()
		if code := <-w.ended; code != exitWell {
			t.Errorf("Ctrl-C ends it with %d, want 0", code)
		}
	}
}

// hindered is an API server that ends the first watches in all the ways it knows: after nothing,
// with a version that is too old, in the stream and as a response, by failing, and in the middle.
type hindered struct {
	mu      sync.Mutex
	refused int
}

func (h *hindered) before(w http.ResponseWriter, r *http.Request) bool {
	if r.URL.Query().Get("watch") == "" {
		return false
	}
	h.mu.Lock()
	h.refused++
	n := h.refused
	h.mu.Unlock()
	const gone = `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Expired","code":410,"message":"too old"}`
	switch n {
	case 1:
		w.Header().Set("Content-Type", "application/json")
	case 2:
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"type":"ERROR","object":%s}`+"\n", gone)
	case 3:
		refuse(w, http.StatusGone)
	case 4:
		refuse(w, http.StatusServiceUnavailable)
	case 5:
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"type":"MODI`)
	default:
		return false
	}
	return true
}

func TestStatusWatch(t *testing.T) {
	plane, api := testenv.Start(t, testenv.Options{})
	testenv.Create(t, api, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}})
	createStack(t, api, "healthy")
	stack := &obsv1.ObservabilityStack{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "healthy"}}
	t.Run("goes on", func(t *testing.T) {
		h := &hindered{}
		w := startWatching(t, "--kubeconfig=/dev/null", "--server="+proxied(t, plane.Kubeconfig, h.before))
		w.until(t, "workloads:")
		said := w.until(t, "refused")
		sayReady(t, api, stack, "Interrupted")
		said = append(said, w.until(t, "not ready (Interrupted)")...)
		if len(said) != 2 || !strings.HasSuffix(said[0], ": trying again") {
			t.Errorf("it says more than what failed, once, and what changed:\n%s", strings.Join(said, "\n"))
		}
		w.wantEnd(t)
	})
	t.Run("says each thing once", func(t *testing.T) {
		w := startWatching(t, "healthy", "--kubeconfig", plane.Kubeconfig)
		w.until(t, "workloads:")
		for i := range 5 {
			testenv.Change(t, api, stack, func(stack *obsv1.ObservabilityStack) {
				metav1.SetMetaDataAnnotation(&stack.ObjectMeta, "touched", fmt.Sprint(i))
			})
		}
		createStack(t, api, "broken") // Another one.
		sayReady(t, api, stack, "Changed")
		if said := w.until(t, "Stack"); len(said) != 1 || !strings.Contains(said[0], "not ready (Changed)") {
			t.Errorf("it says what did not change:\n%s", strings.Join(said, "\n"))
		}
		testenv.Delete(t, api, stack)
		w.until(t, "No ObservabilityStacks found")
		createBareStack(t, api, "healthy")
		w.until(t, "ready, verified")
		w.wantEnd(t)
	})
	t.Run("without rights", func(t *testing.T) {
		testenv.Create(t, api, &rbacv1.Role{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "list"},
			Rules: []rbacv1.PolicyRule{{APIGroups: []string{obsv1.GroupVersion.Group}, Verbs: []string{"get", "list"},
				Resources: []string{"observabilitystacks"}}},
		})
		testenv.Create(t, api, &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "list"},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "list"},
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: "joe"}},
		})
		joe, err := plane.User("joe")
		if err != nil {
			t.Fatal(err)
		}
		w := startWatching(t, "--kubeconfig", joe)
		w.until(t, "you may not watch ObservabilityStacks in namespace shop")
		if code := <-w.ended; code != exitWrong {
			t.Errorf("it ends with %d, want 1", code)
		}
	})
}

// sayReady has the operator say that a stack is not ready, for a reason.
func sayReady(t *testing.T, api client.Client, stack *obsv1.ObservabilityStack, reason string) {
	t.Helper()
	testenv.Read(t, api, stack)
	for i := range stack.Status.Conditions {
		if c := &stack.Status.Conditions[i]; c.Type == obsv1.Ready {
			c.Status, c.Reason = metav1.ConditionFalse, reason
		}
	}
	if err := api.Status().Update(t.Context(), stack); err != nil {
		t.Fatal(err)
	}
}
