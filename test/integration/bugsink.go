// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"obstack.dev/obstack/test/testenv"
)

// Bugsink is a server that takes what Sentry takes.
type Bugsink struct {
	*Process
	// URL of the server.
	URL string

	token, team string
}

// StartBugsink starts a server in an empty folder, from the folder of hack/integration/sentry.sh.
func StartBugsink(parts, dir string) (*Bugsink, error) {
	port, err := testenv.FreePort()
	if err != nil {
		return nil, err
	}
	b := &Bugsink{URL: fmt.Sprintf("http://127.0.0.1:%d", port)}
	env := append(os.Environ(), "SECRET_KEY="+strings.Repeat("only-for-this-test", 4), fmt.Sprint("PORT=", port),
		"BASE_URL="+b.URL, "DATABASE_PATH="+filepath.Join(dir, "db.sqlite3"), "PHONEHOME=false",
		"CREATE_SUPERUSER=admin@example.org:admin", "USER_REGISTRATION=CB_NOBODY", "BEHIND_HTTPS_PROXY=false")
	bin := filepath.Join(parts, "bugsink", "bin")
	run := func(name string, args ...string) (string, error) {
		command := exec.Command(filepath.Join(bin, name), args...)
		command.Dir, command.Env = dir, env
		output, err := command.Output()
		if err != nil {
			return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, output)
		}
		return strings.TrimSpace(string(output)), nil
	}
	_, err = run("bugsink-create-conf", "--template=docker", "--port", fmt.Sprint(port), "--host", "127.0.0.1")
	if err != nil {
		return nil, err
	}
	// Without a second process; its queue has one place on the machine otherwise.
	const eager = "\nSNAPPEA[\"TASK_ALWAYS_EAGER\"] = True\nDATABASES[\"snappea\"][\"NAME\"] = \"snappea.sqlite3\"\n"
	if err := appendTo(filepath.Join(dir, "bugsink_conf.py"), eager); err != nil {
		return nil, err
	}
	for _, args := range [][]string{
		{"migrate", "-v0"}, {"migrate", "snappea", "--database=snappea", "-v0"}, {"prestart"},
	} {
		if _, err := run("bugsink-manage", args...); err != nil {
			return nil, err
		}
	}
	if b.token, err = run("bugsink-manage", "create_auth_token"); err != nil {
		return nil, err
	}
	output, err := os.Create(filepath.Join(dir, "bugsink.log"))
	if err != nil {
		return nil, err
	}
	p, err := Start(output, env, filepath.Join(bin, "gunicorn"), fmt.Sprintf("--bind=127.0.0.1:%d", port), "--workers=1",
		"--threads=4", "bugsink.wsgi")
	if err != nil {
		return nil, err
	}
	b.Process, err = p.waitForPort("bugsink", port, 2*time.Minute)
	return b, err
}

func appendTo(file, text string) error {
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// Project makes a project and returns its DSN.
func (b *Bugsink) Project(name string) (dsn string, err error) {
	if b.team == "" {
		var team struct{ ID string }
		if err := b.call(http.MethodPost, "teams/", map[string]string{"name": "shop"}, &team); err != nil {
			return "", err
		}
		b.team = team.ID
	}
	var made struct{ ID string }
	project := map[string]string{"name": name, "team": b.team}
	if err := b.call(http.MethodPost, "projects/", project, &made); err != nil {
		return "", err
	}
	var read struct{ DSN string }
	err = b.call(http.MethodGet, "projects/"+made.ID+"/", nil, &read)
	return read.DSN, err
}

// Events is how many events a project has.
func (b *Bugsink) Events(dsn string) (events int, err error) {
	var read struct {
		Digested int `json:"digested_event_count"`
	}
	err = b.call(http.MethodGet, "projects/"+dsn[strings.LastIndex(dsn, "/")+1:]+"/", nil, &read)
	return read.Digested, err
}

func (b *Bugsink) call(method, path string, body, into any) error {
	encoded, err := json.Marshal(body)
	if err != nil {
		return err
	}
	request, err := http.NewRequest(method, b.URL+"/api/canonical/0/"+path, bytes.NewReader(encoded))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+b.token)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode >= http.StatusMultipleChoices {
		return fmt.Errorf("%s %s: status %d: %w\n%s", method, path, response.StatusCode, err, text)
	}
	return json.Unmarshal(text, into)
}
