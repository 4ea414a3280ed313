// SPDX-License-Identifier: Apache-2.0

package repository

import (
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

var (
	uses   = regexp.MustCompile(`^\s*(?:- )?uses:\s*(.*)$`)
	pinned = regexp.MustCompile(`^[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$`)
	from   = regexp.MustCompile(`^FROM (?:--\S+ )*(\S+)`)
	digest = regexp.MustCompile(`^[^@]+:\d+\.\d+\.\d+@sha256:[0-9a-f]{64}$`)
)

// TestActionsArePinned: a tag of an action can be moved to other code, a commit cannot. The version
// behind it is for people and Dependabot.
func TestActionsArePinned(t *testing.T) {
	found, versions := 0, map[string]string{}
	for _, file := range files(t, ".github/workflows/*.yaml") {
		for number, line := range lines(t, file) {
			match := uses.FindStringSubmatch(line)
			if match == nil {
				continue
			}
			found++
			if !pinned.MatchString(match[1]) {
				t.Errorf("%s:%d: %q is no ACTION@COMMIT # vX.Y.Z", file, number+1, match[1])
			}
			action, version, _ := strings.Cut(match[1], "@")
			if known, ok := versions[action]; ok && known != version {
				t.Errorf("%s:%d: %s is pinned to %s here and to %s elsewhere", file, number+1, action, version, known)
			}
			versions[action] = version
		}
	}
	if found < 10 {
		t.Errorf("found only %d actions", found)
	}
}

// TestWorkflowsMayOnlyRead: what a job needs beyond that, it asks for itself.
func TestWorkflowsMayOnlyRead(t *testing.T) {
	for _, file := range files(t, ".github/workflows/*.yaml") {
		if !strings.Contains(read(t, file), "\npermissions:\n  contents: read\n") {
			t.Errorf("%s lacks permissions: {contents: read} at the top", file)
		}
	}
}

// TestDependabotKnowsEveryModule: a module that is not listed gets no updates, and nobody notices.
func TestDependabotKnowsEveryModule(t *testing.T) {
	var config struct {
		Updates []struct {
			Ecosystem   string `json:"package-ecosystem"`
			Directory   string
			Directories []string
		}
	}
	if err := yaml.Unmarshal([]byte(read(t, ".github/dependabot.yml")), &config); err != nil {
		t.Fatal(err)
	}
	patterns := map[string]string{"gomod": "*go.mod", "npm": "*package.json", "docker": "*Dockerfile"}
	for ecosystem, pattern := range patterns {
		for _, file := range files(t, pattern) {
			known := false
			for _, update := range config.Updates {
				for _, directory := range append(update.Directories, update.Directory) {
					match, err := path.Match(directory, path.Dir("/"+file))
					known = known || err == nil && match && update.Ecosystem == ecosystem
				}
			}
			if !known {
				t.Errorf(".github/dependabot.yml has no %s for %s", ecosystem, file)
			}
		}
	}
}

func TestBaseImagesArePinned(t *testing.T) {
	found := 0
	for number, line := range lines(t, "Dockerfile") {
		match := from.FindStringSubmatch(line)
		if match == nil || match[1] == "scratch" {
			continue
		}
		found++
		if !digest.MatchString(match[1]) {
			t.Errorf("Dockerfile:%d: %s is no IMAGE:X.Y.Z@sha256:DIGEST", number+1, match[1])
		}
	}
	if found == 0 {
		t.Error("found no base image")
	}
}

// release is what a test reads of the workflow that publishes.
type release struct {
	Jobs map[string]struct {
		Needs    any
		Strategy struct {
			Matrix struct{ Architecture []string }
		}
		Steps []struct {
			Uses, Run string
			With      map[string]any
		}
	}
}

func readRelease(t *testing.T) release {
	t.Helper()
	var workflow release
	if err := yaml.Unmarshal([]byte(read(t, ".github/workflows/release.yaml")), &workflow); err != nil {
		t.Fatal(err)
	}
	return workflow
}

// TestReleaseScansEveryPlatform that it builds, and builds without a tag.
func TestReleaseScansEveryPlatform(t *testing.T) {
	workflow := readRelease(t)
	var scanned []string
	for _, architecture := range workflow.Jobs["scan"].Strategy.Matrix.Architecture {
		scanned = append(scanned, "linux/"+architecture)
	}
	for _, step := range workflow.Jobs["image"].Steps {
		if !strings.HasPrefix(step.Uses, "docker/build-push-action@") {
			continue
		}
		if got, want := step.With["platforms"], strings.Join(scanned, ","); got != want {
			t.Errorf("built for %v, scanned for %v", got, want)
		}
		outputs, _ := step.With["outputs"].(string)
		if !strings.Contains(outputs, "push-by-digest=true") || step.With["tags"] != nil {
			t.Errorf("the build pushes %q with the tags %v, want it by digest alone", outputs, step.With["tags"])
		}
		return
	}
	t.Error("the job image builds nothing")
}

// TestReleaseIsScannedBeforeItIsTagged: what has a tag is what people get.
func TestReleaseIsScannedBeforeItIsTagged(t *testing.T) {
	tagged := 0
	for name, job := range readRelease(t).Jobs {
		for _, step := range job.Steps {
			if !strings.Contains(step.Run, "imagetools create") {
				continue
			}
			tagged++
			if needs, _ := job.Needs.([]any); !slices.Contains(needs, any("scan")) {
				t.Errorf("the job %s sets a tag and waits for %v, not for scan", name, job.Needs)
			}
		}
	}
	if tagged != 1 {
		t.Errorf("%d steps set a tag, want 1", tagged)
	}
}

// TestReleaseAttestsWhatItBuilds: a file that comes to dist/ later has no attestation.
func TestReleaseAttestsWhatItBuilds(t *testing.T) {
	built, attested := -1, -1
	for i, step := range readRelease(t).Jobs["publish"].Steps {
		if step.Run == "make dist" {
			built = i
		}
		if step.With["subject-path"] == "dist/*" {
			attested = i
		} else if attested >= 0 && strings.Contains(step.Run, "> dist/") {
			t.Errorf("step %d writes to dist/ after it was attested", i)
		}
	}
	if built < 0 || attested < built {
		t.Errorf("the plugin is built by step %d, and dist/ attested by step %d", built, attested)
	}
}
