// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"obstack.dev/obstack/internal/browser"
	"obstack.dev/obstack/internal/viewer"
)

// pictureTimeout is for one dashboard: for what Prometheus says, which has a timeout of its own,
// and for the browser.
const pictureTimeout = time.Minute

// draw all dashboards into files of a folder, which is made.
func (o *dashboardOptions) draw(ctx context.Context, shown *viewer.Viewer, dashboards []dashboard) (err error) {
	if err := os.MkdirAll(o.png, 0o700); err != nil {
		return fmt.Errorf("make the folder of --png: %w", err)
	}
	defer undoes(ctx)() // The browser ends, and its profile goes.
	chromium, err := browser.Start(o.browser)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, chromium.Close()) }()
	for _, d := range dashboards {
		pictures, err := drawOne(ctx, chromium, shown, d)
		if err != nil {
			return fmt.Errorf("draw %s: %w", d.file, err)
		}
		for i, picture := range pictures {
			name := pictureName(d.file, i)
			if err := writeWhole(o.png, name, picture); err != nil {
				return err
			}
			fmt.Fprintln(o.streams.Out, filepath.Join(o.png, name))
		}
		if err := removeRest(o.png, d.file, len(pictures)); err != nil {
			return err
		}
	}
	return nil
}

func drawOne(
	ctx context.Context, chromium *browser.Chromium, shown *viewer.Viewer, d dashboard,
) ([][]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, pictureTimeout)
	defer cancel()
	return chromium.Pictures(ctx, shown.Still(ctx, d.Dashboard))
}

// pictureName is the file of one of a dashboard's pictures; the first has no number.
func pictureName(file string, i int) string {
	if i == 0 {
		return file + ".png"
	}
	return fmt.Sprintf("%s-%d.png", file, i+1)
}

// removeRest removes what was drawn earlier of a dashboard that was higher then: it would be taken
// for the rest of what is drawn now.
func removeRest(dir, file string, pictures int) error {
	for i := pictures; ; i++ {
		err := os.Remove(filepath.Join(dir, pictureName(file, i)))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// writeWhole writes a file that is there whole or not at all, for its owner only. What had its name
// is replaced; a link is, and not what it leads to.
func writeWhole(dir, name string, content []byte) error {
	file, err := os.CreateTemp(dir, "."+name+"-")
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(file.Name(), filepath.Join(dir, name))
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return nil
}
