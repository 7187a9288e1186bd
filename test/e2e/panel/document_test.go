package panel_test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const documentFile = "../../../docs/panel-api.md"

// step is a line of the document and what it says that comes of it.
type step struct {
	section, line, shows string
}

// documentedCalls are those of which the document must have a line.
var documentedCalls = []string{
	"/api/name", "/api/auth/create-user", "/api/users/create", "/api/getUser", "/api/users", "/api/nodes/create", "/api/nodes", "/api/images",
	"/api/instances/deploy", "/api/getInstance", "/api/instances", "/api/getUserInstance", "/api/instances/suspend/", "/api/instances/unsuspend/",
	"/api/instance/delete", "/api/nodes/delete",
}

var (
	block   = regexp.MustCompile("(?ms)^```console\n(.*?)^```$")
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
)

// steps reads the document: lines that begin with a $, and what they show up to the next one.
func steps(text string) (all []step) {
	for _, at := range block.FindAllStringSubmatchIndex(text, -1) {
		headings := heading.FindAllStringSubmatch(text[:at[0]], -1)
		section := headings[len(headings)-1][1]
		for _, part := range strings.Split("\n"+text[at[2]:at[3]], "\n$ ")[1:] {
			end := endOfLine(part)
			all = append(all, step{section, part[:end], part[end:]})
		}
	}
	return all
}

// endOfLine is where a command ends: not before its quotes, its here-document and its continuations do.
func endOfLine(text string) int {
	for i, quoted := 0, false; i < len(text); i++ {
		switch {
		case text[i] == '\'':
			quoted = !quoted
		case text[i] != '\n' || quoted || text[i-1] == '\\':
		case strings.Contains(text[:i], "<<EOF") && !strings.HasSuffix(text[:i], "\nEOF"):
		default:
			return i
		}
	}
	return len(text)
}

// TestDocument runs all lines of the document in both profiles, with the real curl.
func TestDocument(t *testing.T) {
	for _, profile := range []string{documented, source} {
		t.Run(profile, func(t *testing.T) {
			p := newPanel(t, profile, "--panel-profile", profile)
			d, shown := p.newReader(), map[string]bool{}
			for _, s := range steps(string(p.Read(documentFile))) {
				if !strings.HasPrefix(s.line, "curl ") {
					d.kubectl(s)
					continue
				}
				_, path, _ := strings.Cut(s.line, "$URL")
				shown[path] = true
				p.check(s.section+": "+path, func(p *panel) { d.in(p).curl(s) })
			}
			for _, path := range documentedCalls {
				if !shows(shown, path) {
					t.Errorf("the document does not show %s", path)
				}
			}
			p.check("no secret in any reply of the document", func(p *panel) { p.secretsStaySecret("correct horse", "battery staple") })
		})
	}
}

// shows tells whether a path is among all, or one that begins with it if it ends with a slash.
func shows(all map[string]bool, path string) bool {
	for shown := range all {
		if shown == path || strings.HasSuffix(path, "/") && strings.HasPrefix(shown, path) {
			return true
		}
	}
	return false
}

// reader is who follows the document on a site where some things are called otherwise.
type reader struct {
	*panel
	// here has what is in the document, and what it is here.
	here *strings.Replacer
	// program is kubectl; without it, its lines are done otherwise.
	program string
}

func (p *panel) newReader() *reader {
	p.Helper()
	h, images := p.newHost(), p.serveImages()
	credentials := h.Credentials()
	p.Write(filepath.Join(p.Work, "cacert.pem"), credentials.Cert)
	p.Write(filepath.Join(p.Work, "ca.key"), credentials.Key)
	// The reader of the source profile does without kubectl, as on machines that have none.
	program, err := exec.LookPath("kubectl")
	if err != nil || p.profile == source {
		program = ""
	}
	return &reader{p, strings.NewReplacer(
		"rack1.example.org", h.address, `"1025"`, `"`+h.port+`"`, "https://downloads.example.org/hello.hvt", images.url,
		"01734043d37375c1f2c4731a3300fa48c5f691b6c15cea000521fdf7c25ba87a", images.digest,
	), program}
}

func (d *reader) in(p *panel) *reader {
	part := *d
	part.panel = p
	return &part
}

// inDocument is an id of the document: made by the server, so it is another one here.
var inDocument = regexp.MustCompile(`\b(?:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{64}|[0-9a-f]{8})\b`)

// local gives the document's text as it is here. Ids that are not known yet become names of a pattern.
func (d *reader) local(text string) string {
	kinds := map[int]string{8: "hex8", 36: "uuid", 64: "hex64"}
	text = inDocument.ReplaceAllStringFunc(text, func(id string) string {
		if strings.Contains(d.here.Replace(id), id) {
			if known, found := d.known["id-"+id]; found {
				return known
			}
			return "<id-" + id + "=" + kinds[len(id)] + ">"
		}
		return id
	})
	return d.here.Replace(text)
}

// unwrapped is a reply of the document without the breaks of lines that only the page has.
func unwrapped(shows string) string {
	return regexp.MustCompile(`\n\s*`).ReplaceAllString(strings.TrimSpace(shows), "")
}

// curl runs a line and demands what the document shows. What only looks is asked again until it sees what was to come.
func (d *reader) curl(s step) {
	d.Helper()
	line, want := d.local(s.line), d.inProfile(d.local(unwrapped(s.shows)))
	var output, status string
	asShown := func() bool {
		output, status = d.Run(line, "URL=https://"+server, "KEY="+d.key)
		d.seen.add(line, output)
		return d.known.match(want, output) == nil
	}
	looks := !strings.Contains(line, " -X ") && (!strings.Contains(line, " -d ") || strings.Contains(line, "/api/get"))
	if looks {
		d.Eventually(fmt.Sprintf("%s shows %s", line, want), asShown)
	} else if !asShown() {
		d.Errorf("%s:\ngot  %s\nwant %s", line, output, want)
	}
	if !strings.HasPrefix(status, "20") {
		d.Errorf("%s: %s", line, status)
	}
}

// inProfile is what a reply is in the source profile where it is another one.
func (d *reader) inProfile(shows string) string {
	if at := strings.Index(shows, `"success":`); d.profile == source && at >= 0 {
		return "{" + shows[at:]
	}
	return shows
}
