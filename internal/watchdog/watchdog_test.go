// SPDX-License-Identifier: Apache-2.0

package watchdog

import (
	"context"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

func TestWatchdogNoticesPassesThatNeverEnd(t *testing.T) {
	now := time.Unix(0, 0)
	dog := New(time.Minute, func() time.Time { return now })
	entered, leave := make(chan struct{}), make(chan struct{})
	wrapped := dog.Wrap(reconcile.Func(func(context.Context, reconcile.Request) (reconcile.Result, error) {
		entered <- struct{}{}
		<-leave
		return reconcile.Result{RequeueAfter: time.Hour}, nil
	}))
	if err := dog.Check(); err != nil {
		t.Errorf("with no pass running: %v", err)
	}
	results := make(chan reconcile.Result)
	pass := func(name string) {
		go func() {
			result, _ := wrapped.Reconcile(t.Context(),
				reconcile.Request{NamespacedName: types.NamespacedName{Namespace: "shop", Name: name}})
			results <- result
		}()
		<-entered
	}
	pass("old")
	now = now.Add(time.Minute)
	pass("new")
	if err := dog.Check(); err != nil {
		t.Errorf("after exactly the limit: %v", err)
	}
	now = now.Add(time.Second)
	if err := dog.Check(); err == nil || !strings.Contains(err.Error(), "shop/old") {
		t.Errorf("after more than the limit: %v, want an error that names shop/old", err)
	}
	leave <- struct{}{}
	leave <- struct{}{}
	for range 2 {
		if got := <-results; got.RequeueAfter != time.Hour {
			t.Errorf("result = %v, want what the reconciler returned", got)
		}
	}
	if err := dog.Check(); err != nil {
		t.Errorf("after all passes ended: %v", err)
	}
}
