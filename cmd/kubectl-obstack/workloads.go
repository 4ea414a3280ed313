// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"obstack.dev/obstack/controllers/injection/policy"
)

// workloadKind is the kind that somebody means by a word, as kubectl takes it.
func workloadKind(word string) (policy.Kind, bool) {
	short := map[string]string{
		policy.KindDeployment: "deploy", policy.KindStatefulSet: "sts", policy.KindDaemonSet: "ds", policy.KindCronJob: "cj",
	}
	word = strings.ToLower(word)
	for _, kind := range policy.Kinds {
		long := strings.ToLower(kind.Kind)
		if slices.Contains([]string{long, long + "s", short[kind.Kind]}, word) {
			return kind, true
		}
	}
	return policy.Kind{}, false
}

// asWorkload keeps of an object what the operator reads of it.
func asWorkload(whole *unstructured.Unstructured, kind policy.Kind) (*policy.Workload, error) {
	object := kind.New()
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(whole.Object, object); err != nil {
		return nil, fmt.Errorf("read %s %s/%s: %w", kind.Kind, whole.GetNamespace(), whole.GetName(), err)
	}
	return object.Partial(), nil
}
