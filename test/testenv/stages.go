// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// kwokStages is the file, beside kwok, that says how simulated nodes and Pods behave.
const kwokStages = "kwok-stages.yaml"

// stageFiles are the files of KWOK's module that make up kwokStages: nodes become ready and stay
// so, Pods become ready, complete if they belong to a Job, and go when they are deleted.
var stageFiles = []string{
	"node/fast/node-initialize.yaml",
	"node/heartbeat-with-lease/node-heartbeat-with-lease.yaml",
	"pod/fast/pod-ready.yaml",
	"pod/fast/pod-complete.yaml",
	"pod/fast/pod-delete.yaml",
}

// copyStages takes KWOK's description of nodes and Pods from its module.
func (b *builder) copyStages(ctx context.Context) error {
	module, err := downloadModule(ctx, filepath.Join(b.root, kwokDir), kwokModule)
	if err != nil {
		return err
	}
	documents := make([][]byte, 0, len(stageFiles))
	for _, file := range stageFiles {
		content, err := os.ReadFile(filepath.Join(module, "kustomize", "stage", filepath.FromSlash(file)))
		if err != nil {
			return fmt.Errorf("read the stages of kwok: %w", err)
		}
		if objects, _ := decode(content); len(objects) != 1 || objects[0].GetKind() != "Stage" {
			return fmt.Errorf("read the stages of kwok: %s holds no Stage", file)
		}
		documents = append(documents, content)
	}
	if err := keepContent(bytes.Join(documents, []byte("\n---\n")), filepath.Join(b.dir, kwokStages)); err != nil {
		return fmt.Errorf("keep the stages of kwok: %w", err)
	}
	return nil
}
