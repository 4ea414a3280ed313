// SPDX-License-Identifier: Apache-2.0

package test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/test/testenv"
)

const samples = "../config/samples"

// folders are the samples that are whole applications.
var folders = []string{"shop", "shop-python"}

func TestSamplesAreAccepted(t *testing.T) {
	paths, err := filepath.Glob(filepath.Join(samples, "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	// config/samples may have a kustomization.yaml of its own, which is no sample.
	paths = slices.DeleteFunc(paths, func(path string) bool { return filepath.Base(path) == "kustomization.yaml" })
	if len(paths) < 3 {
		t.Fatalf("samples = %v, want a minimal, a full and a multi-team one", paths)
	}
	for _, folder := range folders {
		paths = append(paths, filepath.Join(samples, folder))
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			objects, err := testenv.Objects(path)
			if err != nil {
				t.Fatal(err)
			}
			ours := 0
			for _, object := range objects {
				accepted(t, object)
				if object.GetAPIVersion() == obsv1.GroupVersion.String() {
					ours++
				}
			}
			if ours == 0 {
				t.Error("no object of obstack in it")
			}
		})
	}
}

// accepted sends an object as kubectl apply --dry-run=server --validate=strict does.
func accepted(t *testing.T, object *unstructured.Unstructured) {
	t.Helper()
	if namespace := object.GetNamespace(); namespace == "" {
		object.SetNamespace(metav1.NamespaceDefault)
	} else {
		ensureNamespace(t, namespace)
	}
	if err := tryCreate(t, object); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Errorf("%s %s: %v", object.GetKind(), object.GetName(), err)
	}
}

func tryCreate(t *testing.T, object *unstructured.Unstructured) error {
	t.Helper()
	return apiServer(t).Create(t.Context(), object, client.DryRunAll, client.FieldValidation(metav1.FieldValidationStrict))
}

func ensureNamespace(t *testing.T, name string) {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if err := apiServer(t).Create(t.Context(), namespace); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
}

func TestTheKustomizationOfAShopListsAllItsFiles(t *testing.T) {
	for _, folder := range folders {
		entries, err := os.ReadDir(filepath.Join(samples, folder))
		if err != nil {
			t.Fatal(err)
		}
		want := 0
		for _, entry := range entries {
			if entry.Name() == "kustomization.yaml" {
				continue
			}
			objects, err := testenv.Objects(filepath.Join(samples, folder, entry.Name()))
			if err != nil {
				t.Fatal(err)
			}
			want += len(objects)
		}
		objects, err := testenv.Objects(filepath.Join(samples, folder))
		if err != nil || len(objects) != want {
			t.Errorf("%s: %d objects (%v), want the %d of all files", folder, len(objects), err, want)
		}
	}
}
