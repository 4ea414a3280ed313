// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"obstack.dev/obstack/test/testenv"
)

// registry begins the names of all images. No such registry is asked: they are loaded.
const registry = "localhost/obstack-e2e/"

func named(name string) string { return registry + name + ":e2e" }

// anotherRelease behind the name of Python's image is one that changes nothing.
const anotherRelease = "-2"

// loadImages makes the images and brings them to the nodes.
func (c *cluster) loadImages(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "obstack-e2e-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	images, err := c.images(ctx, dir)
	if err != nil {
		return err
	}
	for _, i := range images {
		archive := filepath.Join(dir, "image.tar")
		if err := i.write(archive); err != nil {
			return err
		}
		// The command has words of its own, such as those of kind.
		load := exec.CommandContext(ctx, "sh", "-c", c.load+` "$0"`, archive)
		if output, err := load.CombinedOutput(); err != nil {
			return fmt.Errorf("load image %s: %w\n%s", i.name, err, output)
		}
	}
	return nil
}

func (c *cluster) images(ctx context.Context, dir string) ([]image, error) {
	root, err := testenv.Root()
	if err != nil {
		return nil, err
	}
	build := exec.CommandContext(ctx, "go", "build", "-ldflags=-s -w", "-o", dir+"/", ".", "./cmd/task-exporter")
	build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the operator: %w\n%s", err, output)
	}
	images := []image{{
		name: named("obstack"), entrypoint: []string{"/obstack"},
		files: map[string]string{"/obstack": dir + "/obstack", "/task-exporter": dir + "/task-exporter"},
	}}
	for name, program := range map[string]string{
		"prometheus": "prometheus", "prometheus-operator": "operator",
		"prometheus-config-reloader": "prometheus-config-reloader",
	} {
		images = append(images, image{
			name: named(name), entrypoint: []string{"/bin/" + program},
			files: map[string]string{"/bin/" + program: filepath.Join(c.parts, program)},
		})
	}
	redis, err := redisImage(ctx)
	if err != nil {
		return nil, err
	}
	python, err := c.pythonImage(ctx)
	return append(images, redis, python), err
}

func redisImage(ctx context.Context) (image, error) {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		return image{}, err
	}
	files, err := libraries(ctx, program)
	if err != nil {
		return image{}, err
	}
	files["/bin/redis-server"] = program
	return image{name: named("redis"), entrypoint: []string{"/bin/redis-server"}, files: files}, nil
}

// pythonImage has Python with two virtual environments, the application's and Bugsink's, and our
// programs for them.
func (c *cluster) pythonImage(ctx context.Context) (image, error) {
	where := exec.CommandContext(ctx, filepath.Join(c.parts, "shop", "bin", "python"), "-c",
		`import os, sys, sysconfig; print(os.path.realpath(sys.executable), sysconfig.get_path("stdlib"))`)
	output, err := where.Output()
	if err != nil {
		return image{}, fmt.Errorf("find Python: %w", err)
	}
	python, standard, _ := strings.Cut(strings.TrimSpace(string(output)), " ")
	programs := []string{python}
	for _, folder := range []string{filepath.Join(standard, "lib-dynload"), c.parts} {
		err := filepath.WalkDir(folder, func(file string, entry fs.DirEntry, err error) error {
			if err == nil && !entry.IsDir() && strings.Contains(entry.Name(), ".so") {
				programs = append(programs, file)
			}
			return err
		})
		if err != nil {
			return image{}, err
		}
	}
	files, err := libraries(ctx, programs...)
	if err != nil {
		return image{}, err
	}
	// What virtual environments bring along comes with them.
	maps.DeleteFunc(files, func(file, _ string) bool { return strings.HasPrefix(file, c.parts) })
	// The environments refer to the interpreter by another name than its own.
	files[python], files[filepath.Join(filepath.Dir(python), "python3")] = python, python
	files[standard] = standard
	for _, name := range []string{"shop", "bugsink"} {
		files["/venv/"+name] = filepath.Join(c.parts, name)
	}
	for _, name := range []string{"shop.py", "plain.py", "brittle.py", "bugsink.py", "grafana.py"} {
		files["/app/"+name] = filepath.Join("testdata", name)
	}
	return image{name: named("python"), again: []string{named("python") + anotherRelease}, files: files}, nil
}
