// SPDX-License-Identifier: Apache-2.0

package browser

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestOpen starts a browser that a Ctrl-C in this process' terminal does not reach.
func TestOpen(t *testing.T) {
	dir := t.TempDir()
	said := filepath.Join(dir, "said")
	const script = `#!/bin/sh
echo $$ "$1" >"$SAID.part"
mv "$SAID.part" "$SAID"
read -r _ <"$SAID.end"
`
	if err := os.WriteFile(filepath.Join(dir, "xdg-open"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(said+".end", 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SAID", said)
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	Open("http://127.0.0.1:1234")
	content, err := os.ReadFile(said)
	for end := time.Now().Add(20 * time.Second); err != nil && time.Now().Before(end); content, err = os.ReadFile(said) {
		time.Sleep(10 * time.Millisecond)
	}
	var pid int
	var address string
	if _, err := fmt.Sscan(string(content), &pid, &address); err != nil || address != "http://127.0.0.1:1234" {
		t.Fatalf("the browser shows %q (%v)", content, err)
	}
	if group, err := syscall.Getpgid(pid); err != nil || group == syscall.Getpgrp() {
		t.Errorf("the browser is in group %d (%v), want another than that of the test", group, err)
	}
	if err := os.WriteFile(said+".end", []byte("\n"), 0o600); err != nil {
		t.Error(err)
	}
}
