// SPDX-License-Identifier: Apache-2.0

package injection

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilcache "k8s.io/apimachinery/pkg/util/cache"
	testclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// counted counts what is read from a reader.
type counted struct {
	client.Reader
	reads int
}

func (c *counted) Get(ctx context.Context, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
	c.reads++
	return c.Reader.Get(ctx, key, obj, opts...)
}

// A workload with a thousand Pods, whose Secret is not there, must not ask for it a thousand times.
func TestPodWebhookLooksForAnAbsentSecretOnceInAWhile(t *testing.T) {
	stack := &obsv1.ObservabilityStack{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "shop"},
		Spec:       obsv1.ObservabilityStackSpec{Environment: "production"},
		Status:     obsv1.ObservabilityStackStatus{ConfigHash: "abc"},
	}
	cached := &shelf{stack: stack, metas: map[string]*metav1.PartialObjectMetadata{
		"Namespace": {ObjectMeta: metav1.ObjectMeta{Name: "team"}},
	}}
	live := &counted{Reader: cached}
	clock := testclock.NewFakeClock(time.Now())
	lookup := NewLookup(&Reader{Main: cached, Watched: func(string) bool { return true }}, live)
	lookup.absent = utilcache.NewExpiringWithClock(clock)
	handler := &PodWebhook{lookup}
	call := func() (operations int) {
		response := handler.Handle(t.Context(), podRequest(t, podOf(1)))
		if !response.Allowed {
			t.Fatalf("response = %+v, want the Pod allowed", response)
		}
		return len(response.Patches)
	}
	without := call()
	for range 3 {
		call()
	}
	if live.reads != 1 {
		t.Errorf("%d requests for a Secret that is not there, want one", live.reads)
	}
	clock.Step(absentFor + time.Second)
	call()
	if live.reads != 2 {
		t.Errorf("%d requests after %s, want a second one", live.reads, absentFor)
	}
	cached.metas["Secret"] = &metav1.PartialObjectMetadata{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: obsv1.SettingsName("team", "shop", "abc")},
	}
	if got := call(); got != without+1 {
		t.Errorf("%d operations, want the mark of a Pod whose Secret the cache shows as well", got)
	}
	if live.reads != 2 {
		t.Errorf("%d requests for a Secret that the cache shows, want none more", live.reads)
	}
}

// waiting responds to nobody: so does a client while the API server has too much to do.
type waiting struct {
	client.Reader
}

func (waiting) Get(ctx context.Context, _ client.ObjectKey, _ client.Object, _ ...client.GetOption) error {
	<-ctx.Done()
	return ctx.Err()
}

// The cluster waits for a webhook a second or more, and starts the Pod without settings then.
func TestPodWebhookInjectsWithoutWaitingForTheSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cached := &shelf{
			stack: &obsv1.ObservabilityStack{
				ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "shop"},
				Spec:       obsv1.ObservabilityStackSpec{Environment: "production"},
				Status:     obsv1.ObservabilityStackStatus{ConfigHash: "abc"},
			},
			metas: map[string]*metav1.PartialObjectMetadata{
				"Namespace": {ObjectMeta: metav1.ObjectMeta{Name: "team"}},
			},
		}
		lookup := NewLookup(&Reader{Main: cached, Watched: func(string) bool { return true }}, waiting{})
		handler := &PodWebhook{lookup}
		start := time.Now()
		response := handler.Handle(t.Context(), podRequest(t, podOf(1)))
		if !response.Allowed || len(response.Patches) == 0 {
			t.Errorf("response = %+v, want the settings added", response)
		}
		if took := time.Since(start); took >= time.Second {
			t.Errorf("the webhook took %s, want less than a second", took)
		}
	})
}
