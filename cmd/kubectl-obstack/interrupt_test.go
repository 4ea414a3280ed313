// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// silentServer takes connections and says nothing. What it returns gets something for each.
func silentServer(t *testing.T) (address string, connected <-chan struct{}) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan struct{}, 100)
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = connection.Close() })
			accepted <- struct{}{}
		}
	}()
	t.Cleanup(func() { _ = listener.Close() })
	return listener.Addr().String(), accepted
}

// soon is much shorter than discovery waits for an API server.
const soon = 20 * time.Second

// TestCommandsEndWithoutTheCluster when they are interrupted once, or when their time is over.
func TestCommandsEndWithoutTheCluster(t *testing.T) {
	const timedOut = "error: the cluster does not respond within --timeout="
	for _, tc := range []struct {
		args []string
		// alone is whether it ends without an interruption.
		alone bool
		says  string
		code  int
	}{
		{[]string{"status"}, false, "error: interrupted\n", exitWrong},
		{[]string{"status", "-w"}, false, "error: interrupted\n", exitWrong},
		{[]string{"explain", "deployment/a"}, false, "error: interrupted\n", exitWrong},
		{[]string{"diff", "-f", "testdata/verify/shop.yaml"}, false, "error: interrupted\n", exitUnknown},
		{[]string{"doctor"}, false, "error: interrupted\n", exitWrong},
		{[]string{"init", "--from-cluster"}, false, "error: interrupted\n", exitWrong},
		{[]string{"support-bundle", "-o", filepath.Join(t.TempDir(), "a")}, false, "error: interrupted\n", exitWrong},
		{[]string{"dashboard", "a"}, false, "error: interrupted\n", exitWrong},
		{[]string{"pause", "a"}, false, "error: interrupted\n", exitWrong},
		{[]string{"resume", "a"}, false, "error: interrupted\n", exitWrong},
		{[]string{"release", "deployment/a"}, false, "error: interrupted\n", exitWrong},
		{[]string{"rollout", "a"}, false, "error: interrupted\n", exitWrong},
		{[]string{"rollout", "a", "--timeout=1s"}, true, timedOut + "1s", exitWrong},
		{[]string{"verify", "a"}, false, "error: interrupted\n", exitWrong},
		{[]string{"verify", "a", "--timeout=10s"}, true, timedOut + "10s", exitWrong},
		{[]string{"__complete", "--namespace=a", "status", ""}, true, "Completion ended", exitWell},
	} {
		t.Run(strings.Join(tc.args, " "), func(t *testing.T) {
			t.Parallel()
			address, connected := silentServer(t)
			ctx, interrupt := context.WithCancel(t.Context())
			defer interrupt()
			var out, errs bytes.Buffer
			ended := make(chan int, 1)
			go func() {
				ended <- run(ctx, slices.Insert(tc.args, 1, "--kubeconfig=/dev/null", "--server=http://"+address),
					genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &errs})
			}()
			select {
			case <-connected:
			case code := <-ended:
				t.Fatalf("it does not ask the server, ends with %d and says %q", code, errs.String())
			}
			if !tc.alone {
				interrupt()
			}
			select {
			case code := <-ended:
				if code != tc.code || !strings.Contains(errs.String(), tc.says) {
					t.Errorf("it ends with %d and says %q, want %d and %q", code, errs.String(), tc.code, tc.says)
				}
			case <-time.After(soon):
				t.Fatal("it does not end")
			}
		})
	}
}
