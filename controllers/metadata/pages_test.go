// SPDX-License-Identifier: Apache-2.0

package metadata

import (
	"context"
	"errors"
	"strconv"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// endless has as many Secrets as are asked for.
type endless struct {
	client.Reader
	asked  []client.ListOptions
	failed error
}

func (e *endless) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	asked := client.ListOptions{}
	asked.ApplyOptions(opts)
	e.asked = append(e.asked, asked)
	if _, bounded := ctx.Deadline(); !bounded {
		return errors.New("a request that may take for ever")
	}
	list.SetContinue("page " + strconv.Itoa(len(e.asked)))
	return e.failed
}

// TestPagesAreReadWhileTheyAreWanted, and are no larger than asked for. None takes for ever.
func TestPagesAreReadWhileTheyAreWanted(t *testing.T) {
	read := func(e *endless, pages int) (last error) {
		empty := func() *corev1.SecretList { return &corev1.SecretList{} }
		for _, err := range Pages(t.Context(), e, empty, client.InNamespace("shop"), client.Limit(7)) {
			last = err
			if pages--; pages == 0 {
				break
			}
		}
		return last
	}
	e := &endless{}
	if err := read(e, 3); err != nil || len(e.asked) != 3 {
		t.Fatalf("three pages took %d requests, %v", len(e.asked), err)
	}
	for i, want := range []string{"", "page 1", "page 2"} {
		if got := e.asked[i]; got.Continue != want || got.Limit != 7 || got.Namespace != "shop" {
			t.Errorf("request %d was %+v, want to go on at %q", i, got, want)
		}
	}
	e = &endless{failed: errors.New("refused")}
	if err := read(e, 3); err == nil || len(e.asked) != 1 {
		t.Errorf("after a refusal there were %d requests, %v; want one", len(e.asked), err)
	}
}
