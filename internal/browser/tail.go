// SPDX-License-Identifier: Apache-2.0

package browser

import (
	"strings"
	"sync"
)

// tail of what a program says.
type tail struct {
	mu   sync.Mutex
	text []byte
}

// maxTail is more than a line of any browser.
const maxTail = 4 << 10

// Write implements io.Writer.
func (t *tail) Write(text []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, text...)
	t.text = t.text[max(0, len(t.text)-maxTail):]
	return len(text), nil
}

// last line, or the one that the browser calls fatal.
func (t *tail) last() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := strings.Split(strings.TrimSpace(string(t.text)), "\n")
	for _, line := range lines {
		if strings.Contains(line, ":FATAL:") {
			return line
		}
	}
	return lines[len(lines)-1]
}
