package bundle

import (
	"bytes"
	"io"
	"os"
)

// leastHole is how many zeros are left out of a file at least.
const leastHole = 64 << 10

// A sparseFile is a file that is written from its beginning to its end. Long runs of zeros become
// holes, which read as zeros and take no room on the disk: the weights of a model that is only
// planned with are often not there.
type sparseFile struct{ *os.File }

// Write implements io.Writer.
func (s *sparseFile) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		n := 0
		for n < len(p)-done && !hole(p[done+n:]) {
			n += min(leastHole, len(p)-done-n)
		}
		if n > 0 {
			wrote, err := s.File.Write(p[done : done+n])
			if done += wrote; err != nil {
				return done, err
			}
			continue
		}
		if _, err := s.Seek(leastHole, io.SeekCurrent); err != nil {
			return done, err
		}
		done += leastHole
	}
	return done, nil
}

// hole reports whether the first bytes may be left out.
func hole(p []byte) bool { return len(p) >= leastHole && zero(p[:leastHole]) }

var zeros [4 << 10]byte

func zero(p []byte) bool {
	for len(p) > 0 {
		n := min(len(p), len(zeros))
		if !bytes.Equal(p[:n], zeros[:n]) {
			return false
		}
		p = p[n:]
	}
	return true
}
