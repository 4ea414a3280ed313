// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Bounds of a bundle, before it is compressed.
const (
	maxBundleFile = 4 << 20
	maxBundle     = 64 << 20
)

// SupportBundle is the manifest.yaml of what kubectl obstack support-bundle writes.
type SupportBundle struct {
	// Plugin and Kubernetes are versions.
	Plugin     string `json:"plugin"`
	Kubernetes string `json:"kubernetes"`
	// Files are all others in the archive, by name.
	Files []BundleFile `json:"files"`
	// SearchedSecrets is how many Secrets' values were searched for in all files, and replaced.
	SearchedSecrets int `json:"searchedSecrets"`
	// Unread says what could not be read, and why.
	Unread []string `json:"unread,omitempty"`
	// Cut says what was left out because it was too large.
	Cut []string `json:"cut,omitempty"`
}

// BundleFile is a file of the archive.
type BundleFile struct {
	Name   string `json:"name"`
	Size   int    `json:"size"`
	SHA256 string `json:"sha256"`
}

// bundle is what was collected.
type bundle struct {
	manifest SupportBundle
	redactor redactor
	// objects are in a file for each kind; contents are files of JSON, and texts all others.
	objects  map[string][]*unstructured.Unstructured
	contents map[string]any
	texts    map[string]string
	// leftOut says what is not in it because it might hold secrets.
	leftOut string
}

// unread notes what could not be read.
func (b *bundle) unread(err error) {
	if err != nil {
		b.manifest.Unread = append(b.manifest.Unread, err.Error())
	}
}

// names of all objects, which are no secrets.
func (b *bundle) names() map[string]bool {
	names := map[string]bool{}
	for _, objects := range b.objects {
		for _, object := range objects {
			names[object.GetName()] = true
			names[object.GetNamespace()] = true
		}
	}
	return names
}

// pack redacts all that was collected and makes an archive of it: the same bytes of the same
// things.
func (b *bundle) pack() ([]byte, error) {
	b.redactor.ready(b.names())
	files, err := b.files()
	if err != nil {
		return nil, err
	}
	b.keep(files)
	for _, list := range []*[]string{&b.manifest.Unread, &b.manifest.Cut} {
		for i := range *list {
			(*list)[i] = b.redactor.text((*list)[i])
		}
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	if b.leftOut != "" {
		b.manifest.Unread = slices.Insert(b.manifest.Unread, 0, b.leftOut)
	}
	manifest, err := asYAML(b.manifest)
	if err != nil {
		return nil, err
	}
	return archive(b.manifest.Files, files, manifest)
}

// files are all that was collected, redacted.
func (b *bundle) files() (map[string][]byte, error) {
	files := map[string][]byte{}
	for name, text := range b.texts {
		files[name] = b.bounded(name, []byte(b.redactor.text(text)))
	}
	for name, content := range b.contents {
		text, err := asJSON(walk(content, b.redactor.text))
		if err != nil {
			return nil, err
		}
		if len(text) > maxBundleFile { // The rest of it would be no JSON.
			b.cut("%s: it has %d bytes", name, len(text))
			continue
		}
		files[name] = text
	}
	for kind, objects := range b.objects {
		name := objectsFile(kind)
		content, err := b.documents(name, objects)
		if err != nil {
			return nil, err
		}
		files[name] = content
	}
	return files, nil
}

// keep the files that find room in the list of the manifest.
func (b *bundle) keep(files map[string][]byte) {
	byImportance := func(a, b string) int { return cmp.Or(importance(a)-importance(b), strings.Compare(a, b)) }
	total := 0
	for _, name := range slices.SortedFunc(maps.Keys(files), byImportance) {
		if total+len(files[name]) > maxBundle {
			b.cut("%s: the bundle is full", name)
			continue
		}
		total += len(files[name])
		sum := sha256.Sum256(files[name])
		b.manifest.Files = append(b.manifest.Files, BundleFile{name, len(files[name]), hex.EncodeToString(sum[:])})
	}
}

// importance of a file, the most important first: reports, objects, logs.
func importance(name string) int {
	switch {
	case strings.HasPrefix(name, "logs/"):
		return 2
	case strings.HasPrefix(name, "objects/"):
		return 1
	}
	return 0
}

func objectsFile(kind string) string { return "objects/" + strings.ToLower(kind) + ".yaml" }

func (b *bundle) cut(format string, args ...any) {
	b.manifest.Cut = append(b.manifest.Cut, fmt.Sprintf(format, args...))
}

// bounded cuts off the beginning of a text that is too long, and the line in which that is.
func (b *bundle) bounded(name string, text []byte) []byte {
	if len(text) <= maxBundleFile {
		return text
	}
	b.cut("%s: the first %d bytes", name, len(text)-maxBundleFile)
	text = text[len(text)-maxBundleFile:]
	return text[bytes.IndexByte(text, '\n')+1:]
}

// documents are objects as YAML, in the order of their namespaces and names.
func (b *bundle) documents(file string, objects []*unstructured.Unstructured) ([]byte, error) {
	slices.SortFunc(objects, func(a, b *unstructured.Unstructured) int {
		return cmp.Or(strings.Compare(a.GetNamespace(), b.GetNamespace()), strings.Compare(a.GetName(), b.GetName()))
	})
	var out bytes.Buffer
	for i, object := range objects {
		walk(object.Object, b.redactor.text)
		text, err := asYAML(object.Object)
		if err != nil {
			return nil, err
		}
		if out.Len()+len(text) > maxBundleFile {
			b.cut("%s: %d of %d objects", file, len(objects)-i, len(objects))
			break
		}
		fmt.Fprintf(&out, "---\n%s", text)
	}
	return out.Bytes(), nil
}

// archive has the manifest first. Times and owners say nothing.
func archive(list []BundleFile, files map[string][]byte, manifest []byte) ([]byte, error) {
	var out bytes.Buffer
	compressed := gzip.NewWriter(&out)
	writer := tar.NewWriter(compressed)
	write := func(name string, content []byte) error {
		header := tar.Header{
			Name: "obstack-support-bundle/" + name, Mode: 0o600, Size: int64(len(content)), ModTime: time.Unix(0, 0),
		}
		if err := writer.WriteHeader(&header); err != nil {
			return err
		}
		_, err := writer.Write(content)
		return err
	}
	if err := write("manifest.yaml", manifest); err != nil {
		return nil, err
	}
	for _, file := range list {
		if err := write(file.Name, files[file.Name]); err != nil {
			return nil, err
		}
	}
	if err := writer.Close(); err != nil {
		return nil, err
	}
	if err := compressed.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
