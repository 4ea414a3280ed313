// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// kustomizationFile lists the files of its folder and is no object of a cluster.
const kustomizationFile = "kustomization.yaml"

// Objects are those in a YAML file, or, of a folder, those in the files that its
// kustomization.yaml lists, in that order.
func Objects(path string) ([]*unstructured.Unstructured, error) {
	files := []string{path}
	if info, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("read objects: %w", err)
	} else if info.IsDir() {
		if files, err = listed(path); err != nil {
			return nil, err
		}
	}
	var objects []*unstructured.Unstructured
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read objects: %w", err)
		}
		read, err := decode(content)
		if err != nil {
			return nil, fmt.Errorf("read objects of %s: %w", file, err)
		}
		objects = append(objects, read...)
	}
	return objects, nil
}

// listed are the files that the kustomization.yaml of dir names as resources.
func listed(dir string) ([]string, error) {
	content, err := os.ReadFile(filepath.Join(dir, kustomizationFile))
	if err != nil {
		return nil, fmt.Errorf("read objects: %w", err)
	}
	var kustomization struct{ Resources []string }
	if err := yaml.Unmarshal(content, &kustomization); err != nil {
		return nil, fmt.Errorf("read %s of %s: %w", kustomizationFile, dir, err)
	}
	files := make([]string, 0, len(kustomization.Resources))
	for _, name := range kustomization.Resources {
		files = append(files, filepath.Join(dir, name))
	}
	return files, nil
}

func decode(content []byte) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	documents := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(content)))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, err
		}
		object := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(document, &object.Object); err != nil {
			return nil, err
		}
		if len(object.Object) > 0 {
			objects = append(objects, object)
		}
	}
}
