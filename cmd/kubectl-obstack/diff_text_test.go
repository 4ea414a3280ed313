// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pmezard/go-difflib/difflib"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// TestUnifiedDiff compares it with what the library makes of the whole texts.
func TestUnifiedDiff(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2)) // #nosec G404 -- the same ones each time
	for range 2000 {
		before := []string{}
		for i := range random.IntN(40) {
			before = append(before, fmt.Sprintf("- line %d of %d\n", i, random.IntN(3)))
		}
		after := slices.Clone(before)
		if len(after) > 0 { // One change: of more, the library aligns what is around them in several ways.
			at := random.IntN(len(after))
			end := min(len(after), at+random.IntN(3))
			after = slices.Replace(after, at, end, []string{"new\n", "new too\n"}[:random.IntN(3)]...)
		} else {
			after = []string{"new\n"}
		}
		want, err := difflib.GetUnifiedDiffString(difflib.UnifiedDiff{
			A: before, B: after, FromFile: "live/a", ToFile: "wanted/a", Context: contextLines,
		})
		if err != nil {
			t.Fatal(err)
		}
		got, err := unifiedDiff("a", strings.Join(before, ""), strings.Join(after, ""))
		if err != nil || got != want {
			t.Fatalf("it is\n%s, want\n%s (%v)", got, want, err)
		}
	}
}

// TestUnifiedDiffIsBounded shows that large objects take no time, and that small changes of them
// are shown all the same.
func TestUnifiedDiffIsBounded(t *testing.T) {
	var many, other strings.Builder
	for i := range 40000 {
		fmt.Fprintf(&many, "line %d\n", i%110)
		if i%5 == 0 {
			fmt.Fprintf(&other, "other %d\n", i)
		} else {
			fmt.Fprintf(&other, "line %d\n", i%110)
		}
	}
	begin := time.Now()
	for name, tc := range map[string]struct{ before, after, want string }{
		"all": {before: many.String(), after: other.String(),
			want: fmt.Sprintf("# They differ in too much to be shown: %d and %d bytes.\n", many.Len(), other.Len())},
		"one line": {before: many.String() + "a\n" + many.String(), after: many.String() + "b\n" + many.String(),
			want: "@@ -39998,7 +39998,7 @@\n line 67\n line 68\n line 69\n-a\n+b\n line 0\n line 1\n line 2\n"},
		"a new one": {after: "a\n", want: "@@ -0,0 +1 @@\n+a\n"},
	} {
		got, err := unifiedDiff("a", tc.before, tc.after)
		if want := "--- live/a\n+++ wanted/a\n" + tc.want; err != nil || got != want {
			t.Errorf("%s: it is\n%s, want\n%s (%v)", name, got[:min(len(got), 1000)], want, err)
		}
	}
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("it took %s", took) // Without the bound it takes minutes.
	}
}

func TestChangeShowsNoSecret(t *testing.T) {
	secret := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Secret", "data": map[string]any{"dsn": "bWFya2Vk"},
		"stringData": map[string]any{"other": "marked"},
		"metadata": map[string]any{"namespace": "shop", "name": "a", "annotations": map[string]any{
			corev1.LastAppliedConfigAnnotation: `{"data": {"dsn": "bWFya2Vk"}}`, "example.com/original": "bWFya2Vk",
		}},
	}}
	want := `--- live/Secret/shop/a
+++ wanted/Secret/shop/a
@@ -1,11 +0,0 @@
-apiVersion: v1
-data:
-  dsn: '***'
-kind: Secret
-metadata:
-  annotations:
-    example.com/original: <left out>
-  name: a
-  namespace: shop
-stringData:
-  other: '***'
`
	for _, verb := range []string{verbDelete, verbCreate} {
		before, after := secret, (*unstructured.Unstructured)(nil)
		if verb == verbCreate {
			before, after = nil, secret
		}
		change, err := newChange(verb, before, after)
		if err != nil || strings.Contains(change.Diff, "marked") || strings.Contains(change.Diff, "bWFya2Vk") {
			t.Errorf("%s: it shows %s (%v)", verb, change.Diff, err)
		}
		if verb == verbDelete && change.Diff != want {
			t.Errorf("it shows\n%s, want\n%s", change.Diff, want)
		}
	}
	if got := secret.GetAnnotations()["example.com/original"]; got != "bWFya2Vk" {
		t.Errorf("the object itself was changed: %s", got)
	}
}
