// SPDX-License-Identifier: Apache-2.0

package settings

import (
	"context"
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

// TestKeeperForgetsRefusalsOfWhatNobodyWants, such as in a namespace that is gone.
func TestKeeperForgetsRefusalsOfWhatNobodyWants(t *testing.T) {
	refuse := interceptor.Funcs{
		Create: func(_ context.Context, _ client.WithWatch, obj client.Object, _ ...client.CreateOption) error {
			return apierrors.NewForbidden(corev1.Resource("secrets"), obj.GetName(), errors.New("exceeded quota"))
		},
	}
	api := fake.NewClientBuilder().WithInterceptorFuncs(refuse).Build()
	k := &Keeper{Client: api, Cache: api, Live: api, Now: time.Now}
	want := Wanted{
		Stack:   types.NamespacedName{Namespace: "shop", Name: "shop"},
		Secrets: []*corev1.Secret{{ObjectMeta: metav1.ObjectMeta{Namespace: "gone", Name: "obstack.shop.shop.0a"}}},
	}
	if kept := k.Keep(t.Context(), want); len(kept.Failures) != 1 || len(k.refused) != 1 {
		t.Fatalf("failures %v, kept %d", kept.Failures, len(k.refused))
	}
	want.Secrets = nil
	if k.Keep(t.Context(), want); len(k.refused) != 0 {
		t.Errorf("%d refusals are kept of what nobody wants", len(k.refused))
	}
}
