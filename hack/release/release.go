// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/template"
	"time"
)

// platform for which the plugin is built.
type platform struct{ OS, Arch string }

// platforms are those that krew expects of a plugin.
var platforms = []platform{
	{"darwin", "amd64"}, {"darwin", "arm64"},
	{"linux", "amd64"}, {"linux", "arm64"},
	{"windows", "amd64"}, {"windows", "arm64"},
}

// Bin is the name of the program.
func (p platform) Bin() string {
	if p.OS == "windows" {
		return "kubectl-obstack.exe"
	}
	return "kubectl-obstack"
}

// release is what is made of one commit.
type release struct {
	version string
	// time that every file in an archive has.
	time  time.Time
	build func(p platform, binary string) error
}

// archive that was written, as the manifest names it.
type archive struct {
	platform
	Name, SHA256 string
}

// manifest for krew.
//
//go:embed krew.yaml.tmpl
var manifest string

// write archives, checksums and the manifest.
func (r *release) write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var archives []archive
	checksums := &bytes.Buffer{}
	for _, p := range platforms {
		a, err := r.archive(p, dir)
		if err != nil {
			return err
		}
		fmt.Fprintf(checksums, "%s  %s\n", a.SHA256, a.Name)
		archives = append(archives, a)
	}
	if err := os.WriteFile(filepath.Join(dir, r.prefix()+"checksums.txt"), checksums.Bytes(), 0o644); err != nil {
		return err
	}
	text := &bytes.Buffer{}
	data := map[string]any{"Version": r.version, "Archives": archives}
	if err := template.Must(template.New("krew").Parse(manifest)).Execute(text, data); err != nil {
		return fmt.Errorf("write the manifest: %w", err)
	}
	return os.WriteFile(filepath.Join(dir, "obstack.yaml"), text.Bytes(), 0o644)
}

func (r *release) prefix() string { return "kubectl-obstack_" + r.version + "_" }

// archive of one platform.
func (r *release) archive(p platform, dir string) (archive, error) {
	files, err := r.files(p)
	if err != nil {
		return archive{}, err
	}
	a := archive{platform: p, Name: r.prefix() + p.OS + "_" + p.Arch}
	pack := tarball
	if p.OS == "windows" {
		a.Name, pack = a.Name+".zip", zipped
	} else {
		a.Name += ".tar.gz"
	}
	content := &bytes.Buffer{}
	if err := pack(content, r.time, files); err != nil {
		return archive{}, fmt.Errorf("pack %s: %w", a.Name, err)
	}
	sum := sha256.Sum256(content.Bytes())
	a.SHA256 = hex.EncodeToString(sum[:])
	return a, os.WriteFile(filepath.Join(dir, a.Name), content.Bytes(), 0o644)
}

// file of an archive.
type file struct {
	name    string
	mode    os.FileMode
	content []byte
}

// files of an archive, by name. The script that completes is one for a POSIX shell.
func (r *release) files(p platform) ([]file, error) {
	temporary, err := os.MkdirTemp("", "release-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(temporary)
	binary := filepath.Join(temporary, p.Bin())
	if err := r.build(p, binary); err != nil {
		return nil, err
	}
	files := []file{{name: "LICENSE", mode: 0o644}, {name: p.Bin(), mode: 0o755}}
	paths := []string{"LICENSE", binary}
	if p.OS != "windows" {
		files = append(files, file{name: "kubectl_complete-obstack", mode: 0o755})
		paths = append(paths, filepath.Join(plugin, "kubectl_complete-obstack"))
	}
	for i, path := range paths {
		if files[i].content, err = os.ReadFile(path); err != nil {
			return nil, err
		}
	}
	return files, nil
}

func tarball(out io.Writer, modified time.Time, files []file) error {
	compressed := gzip.NewWriter(out)
	packed := tar.NewWriter(compressed)
	for _, f := range files {
		header := &tar.Header{
			Name: f.name, Mode: int64(f.mode), Size: int64(len(f.content)), ModTime: modified, Format: tar.FormatUSTAR,
		}
		if err := packed.WriteHeader(header); err != nil {
			return err
		}
		if _, err := packed.Write(f.content); err != nil {
			return err
		}
	}
	if err := packed.Close(); err != nil {
		return err
	}
	return compressed.Close()
}

func zipped(out io.Writer, modified time.Time, files []file) error {
	packed := zip.NewWriter(out)
	for _, f := range files {
		header := &zip.FileHeader{Name: f.name, Method: zip.Deflate, Modified: modified}
		header.SetMode(f.mode)
		content, err := packed.CreateHeader(header)
		if err != nil {
			return err
		}
		if _, err := content.Write(f.content); err != nil {
			return err
		}
	}
	return packed.Close()
}
