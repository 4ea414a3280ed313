// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAssetsHaveTheVersionThatIsAskedFor(t *testing.T) {
	fake(t, http.StatusServiceUnavailable)
	folders := map[string]bool{}
	for _, version := range []string{"1.30", "1.33", "1.37"} {
		t.Setenv(envKubernetes, version)
		dir, err := Assets(t.Context(), io.Discard, Etcd)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(filepath.Base(dir), "v"+version+".") {
			t.Errorf("the programs of %s are in %s, want a folder of that version", version, dir)
		}
		folders[dir] = true
	}
	t.Setenv(envKubernetes, "")
	if dir, err := Assets(t.Context(), io.Discard, Etcd); err != nil || !folders[dir] {
		t.Errorf("without a version: %s, %v, want one of %v", dir, err, folders)
	}
	t.Setenv(envKubernetes, "1.29")
	_, err := Assets(t.Context(), io.Discard, Etcd)
	if err == nil || !strings.Contains(err.Error(), "must be one of 1.30, 1.33, 1.37") {
		t.Errorf("error = %v, want one that says which versions there are", err)
	}
}

func TestAssetsRefusesOtherVersionsThatAreGiven(t *testing.T) {
	given := fakePrograms(t, Etcd, APIServer)
	server := filepath.Join(given, string(APIServer))
	if err := os.WriteFile(server, []byte("#!/bin/sh\necho Kubernetes v1.37.2\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv(envAssets, given)
	t.Setenv(envKubernetes, "1.37")
	if _, err := Assets(t.Context(), io.Discard, Etcd, APIServer); err != nil {
		t.Error(err)
	}
	t.Setenv(envKubernetes, "1.3")
	_, err := Assets(t.Context(), io.Discard, Etcd, APIServer)
	if err == nil || !strings.Contains(err.Error(), "holds Kubernetes v1.37.2") {
		t.Errorf("error = %v, want one that says which version is there", err)
	}
}
