package migrate

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// files are those of a folder in the order in which kubectl applies them, with what
// is said at their beginning.
var files = []struct{ kind, name, about string }{
	{"User", "1-users.yaml", "Users of the HTTP API. A User of one of these names that your cluster has already would be changed: compare with --users. " +
		"Mollymawk's hashes of passwords are too cheap to be kept, and sessions are not taken over."},
	{"Namespace", "2-namespaces.yaml", "Namespaces of tenants that have none from the operator. One that your cluster has already is somebody's, " +
		"who would get what is in it: look first."},
	{"Secret", "3-secrets.yaml", "Secrets: credentials of hosts, and accounts. Keep them out of Git."},
	{"AlbatrossInstance", "4-instances.yaml", "Hosts and who may use them. The policies are those in force, so that to apply them changes nothing."},
	{"Volume", "5-volumes.yaml", "Block devices, which are adopted with their data. With deletionPolicy Orphan they stay on the host " +
		"when their object is deleted; set it to Delete when the object is to stand for the data."},
	{"Unikernel", "6-unikernels.yaml", "What runs, which is adopted without a restart. With deletionPolicy Orphan it goes on running when " +
		"its object is deleted; set it to Delete when you trust what you see."},
}

// byFile gives the documents of each file.
func byFile(documents []Document) (contents map[string][]byte, err error) {
	contents = map[string][]byte{}
	for _, file := range files {
		var content bytes.Buffer
		for i := range documents {
			if documents[i].Object.GetObjectKind().GroupVersionKind().Kind != file.kind {
				continue
			}
			if content.Len() == 0 {
				content.WriteString(commentText(file.about))
			}
			if err := documents[i].Write(&content); err != nil {
				return nil, err
			}
		}
		if content.Len() > 0 {
			contents[file.name] = content.Bytes()
		}
	}
	return contents, nil
}

// write writes all documents to w.
func write(w io.Writer, documents []Document) error {
	contents, err := byFile(documents)
	if err != nil {
		return err
	}
	for _, file := range files {
		if _, err := w.Write(contents[file.name]); err != nil {
			return err
		}
	}
	return nil
}

// makeFolder makes a folder that only its owner reads, unless it is there and empty:
// what somebody has changed is not written over.
func makeFolder(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	present, err := os.ReadDir(path)
	if err == nil && len(present) > 0 {
		err = errors.New("the folder is not empty; name a new one")
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// writeFolder writes the documents into a folder, a file a kind.
func writeFolder(path string, documents []Document) error {
	contents, err := byFile(documents)
	if err != nil {
		return err
	}
	for name, content := range contents {
		if err := writeNew(filepath.Join(path, name), content); err != nil {
			return err
		}
	}
	return nil
}

// writeNew writes a file that only its owner reads, and no file that is there.
func writeNew(path string, content []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	return errors.Join(err, file.Close())
}

// maxFile bounds files that are read.
const maxFile = 256 << 20

// readFile reads a file of bounded size.
func readFile(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err == nil && len(content) > maxFile {
		err = fmt.Errorf("%s: more than %d bytes", path, maxFile)
	}
	return content, err
}
