// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
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
			name := d.file + ".png"
			if i > 0 {
				name = fmt.Sprintf("%s-%d.png", d.file, i+1)
			}
			if err := writeWhole(o.png, name, picture); err != nil {
				return err
			}
			fmt.Fprintln(o.streams.Out, filepath.Join(o.png, name))
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
