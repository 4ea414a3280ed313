// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/test/testenv"
)

// TestStatusReadsObjectsAtOnce: the number of requests does not grow with that of stacks, and where
// not all namespaces may be read, those are which may.
func TestStatusReadsObjectsAtOnce(t *testing.T) {
	plane, api := testenv.Start(t, testenv.Options{})
	for _, name := range []string{"shop", "other"} {
		testenv.Create(t, api, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	createStack(t, api, "healthy")
	createStack(t, api, "broken")
	for _, name := range []string{"shop", "other"} {
		stack := stackFile(t, "healthy")
		stack.Namespace, stack.Name = name, "more"
		testenv.Create(t, api, stack)
	}
	read := []string{"get", "list"}
	testenv.Create(t, api, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "stacks"}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{obsv1.GroupVersion.Group}, Resources: []string{"observabilitystacks"}, Verbs: read},
	}})
	testenv.Create(t, api, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "objects"}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: read},
	}})
	joe := []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: "joe"}}
	role := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "stacks"}
	testenv.Create(t, api, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "joe"}, RoleRef: role, Subjects: joe})
	role.Name = "objects"
	testenv.Create(t, api, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "joe"}, RoleRef: role, Subjects: joe})
	kubeconfig, err := plane.User("joe")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		kubeconfig string
		// requests for ConfigMaps, and stacks of which they could not be read.
		requests, unread int
		// bundled are the requests of a support bundle, which has the ConfigMaps themselves as well.
		bundled int
	}{{plane.Kubeconfig, 1, 0, 2}, {kubeconfig, 3, 1, 5}} {
		var requests atomic.Int32
		server := proxied(t, tc.kubeconfig, func(_ http.ResponseWriter, r *http.Request) bool {
			if strings.HasSuffix(r.URL.Path, "/configmaps") {
				requests.Add(1)
			}
			return false
		})
		out, errs, _ := through(t, server, "status", "-A", "-o", "json")
		report := StatusReport{}
		if err := json.Unmarshal([]byte(out), &report); err != nil || len(report.Stacks) != 4 {
			t.Fatalf("%d stacks, want 4 (%v, %s)", len(report.Stacks), err, errs)
		}
		objects, unread := objectsOf(report)
		if got := int(requests.Load()); got != tc.requests || unread != tc.unread || objects != 2 {
			t.Errorf("%d requests, %d stacks without their ConfigMaps and %d objects, want %d, %d and 2",
				got, unread, objects, tc.requests, tc.unread)
		}
		requests.Store(0)
		out, errs, _ = through(t, server, "support-bundle", "-o", filepath.Join(t.TempDir(), "bundle.tar.gz"))
		if got := int(requests.Load()); got != tc.bundled {
			t.Errorf("%d requests for a support bundle, want %d: %s%s", got, tc.bundled, out, errs)
		}
	}
}

// objectsOf all stacks of a report, and how many of these lack the ConfigMaps
// and NetworkPolicies of one namespace.
func objectsOf(report StatusReport) (objects, unread int) {
	for _, stack := range report.Stacks {
		for _, component := range stack.Components {
			objects += len(component.Objects)
		}
		says := strings.Join(stack.Unread, " ")
		if strings.Contains(says, "ConfigMaps in namespace other") && strings.Contains(says, "NetworkPolicies in namespace") {
			unread++
		}
	}
	return objects, unread
}
