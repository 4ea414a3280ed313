// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// user is whom the programs of images run as.
const user = "65532"

// image is a container image made of files of this machine: no registry has to be reached, and
// nothing has to be there that builds images.
type image struct {
	name string
	// again are other names of it.
	again      []string
	entrypoint []string
	// files are the sources, files or folders, by where they are in the image.
	files map[string]string
}

// write writes the image as an archive of docker, which every container engine reads.
func (i image) write(archive string) error {
	layer := archive + ".layer"
	defer os.Remove(layer)
	digest, err := i.writeLayer(layer)
	if err != nil {
		return fmt.Errorf("make image %s: %w", i.name, err)
	}
	config, err := json.Marshal(map[string]any{
		"architecture": "amd64", "os": "linux",
		"config": map[string]any{"User": user + ":" + user, "Entrypoint": i.entrypoint},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + digest}},
	})
	if err != nil {
		return err
	}
	manifest, err := json.Marshal([]any{
		map[string]any{
			"Config": "config.json", "RepoTags": append([]string{i.name}, i.again...), "Layers": []string{"layer.tar"},
		},
	})
	if err != nil {
		return err
	}
	file, err := os.Create(archive)
	if err != nil {
		return err
	}
	defer file.Close()
	out := &writer{Writer: tar.NewWriter(file)}
	out.content("config.json", config)
	out.content("manifest.json", manifest)
	out.copy("layer.tar", layer)
	return out.finish()
}

// writeLayer writes the files, and returns the SHA-256 of what it wrote.
func (i image) writeLayer(name string) (string, error) {
	file, err := os.Create(name)
	if err != nil {
		return "", err
	}
	defer file.Close()
	hash := sha256.New()
	buffer := bufio.NewWriter(io.MultiWriter(file, hash))
	out := &writer{Writer: tar.NewWriter(buffer)}
	out.folder("tmp", 0o1777)
	out.content("etc/passwd", []byte("user:x:"+user+":"+user+"::/tmp:/\n"))
	for target, source := range i.files {
		out.copy(strings.TrimPrefix(target, "/"), source)
	}
	if err := out.finish(); err != nil {
		return "", err
	}
	if err := buffer.Flush(); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// writer is a tar archive whose files everybody may read. It keeps its first error.
type writer struct {
	*tar.Writer
	folders []string
	err     error
}

func (w *writer) keep(err error) {
	if w.err == nil {
		w.err = err
	}
}

func (w *writer) finish() error {
	w.keep(w.Close())
	return w.err
}

// folder adds a folder and those that it is in.
func (w *writer) folder(name string, mode int64) {
	if name == "." || slices.Contains(w.folders, name) {
		return
	}
	w.folder(path.Dir(name), 0o755)
	w.folders = append(w.folders, name)
	w.keep(w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode}))
}

func (w *writer) content(name string, content []byte) {
	w.folder(path.Dir(name), 0o755)
	w.keep(w.WriteHeader(&tar.Header{Name: name, Mode: 0o444, Size: int64(len(content))}))
	_, err := w.Write(content)
	w.keep(err)
}

// unwanted are folders of Python that no program needs: its own tests, and what was installed
// beside it rather than into a virtual environment.
var unwanted = []string{"test", "idlelib", "tkinter", "lib2to3", "ensurepip", "site-packages", "dist-packages"}

// copy adds a file, or a folder with all that is in it.
func (w *writer) copy(name, source string) {
	root, err := filepath.EvalSymlinks(source)
	if err != nil {
		w.keep(err)
		return
	}
	w.keep(filepath.Walk(root, func(file string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		if info.IsDir() && filepath.Dir(file) == root && slices.Contains(unwanted, info.Name()) {
			return filepath.SkipDir
		}
		if strings.HasSuffix(file, ".a") { // nobody links here
			return nil
		}
		target := path.Join(name, strings.TrimPrefix(file, root))
		if info.IsDir() {
			w.folder(target, 0o755)
			return w.err
		}
		w.folder(path.Dir(target), 0o755)
		return w.file(target, file, info)
	}))
}

// file adds a file with its time of modification, by which Python knows what it compiled it to.
func (w *writer) file(name, source string, info os.FileInfo) error {
	header := &tar.Header{Name: name, Mode: int64(info.Mode().Perm() | 0o444), ModTime: info.ModTime(), Size: info.Size()}
	if header.Mode&0o100 != 0 {
		header.Mode |= 0o111
	}
	if info.Mode()&os.ModeSymlink != 0 {
		target, err := os.Readlink(source)
		if err != nil {
			return err
		}
		header.Typeflag, header.Linkname, header.Size = tar.TypeSymlink, target, 0
		return w.WriteHeader(header)
	}
	if err := w.WriteHeader(header); err != nil {
		return err
	}
	file, err := os.Open(source)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = io.Copy(w, file)
	return err
}

// libraries are the shared libraries that the programs need, by where they expect them.
func libraries(ctx context.Context, programs ...string) (map[string]string, error) {
	output, err := exec.CommandContext(ctx, "ldd", programs...).CombinedOutput()
	// ldd fails if one of them is linked statically.
	if err != nil && !bytes.Contains(output, []byte("not a dynamic executable")) &&
		!bytes.Contains(output, []byte("statically linked")) {
		return nil, fmt.Errorf("ldd: %w\n%s", err, output)
	}
	found := map[string]string{}
	for line := range strings.Lines(string(output)) {
		// "libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x...)", or the last two of these alone
		for field := range strings.FieldsSeq(line) {
			if strings.HasPrefix(field, "/") && !strings.HasSuffix(field, ":") {
				found[field] = field
			}
		}
	}
	return found, nil
}
