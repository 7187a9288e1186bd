package albatrosstest

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	"golang.org/x/crypto/chacha20poly1305"
)

// alertCertificateExpired is a number of RFC 8446, section 6.
const alertCertificateExpired = 45

// sendAlert writes a fatal TLS alert of our choice as the first record after a
// handshake. crypto/tls refuses client certificates that it has not verified
// itself with bad_certificate only, but the original tells expired ones apart
// (expired-p256, not-yet-valid-ed25519). So such a handshake is completed, and
// the alert, which a client reads after its handshake in either case, is sent
// with the keys that keyLog got. Nothing may have been written to the connection
// since the handshake, session tickets included.
func sendAlert(raw io.Writer, state tls.ConnectionState, keyLog []byte, alert byte) error {
	secret, err := serverSecret(keyLog)
	if err != nil {
		return err
	}
	newHash, keyLength, newAEAD, err := suite(state.CipherSuite)
	if err != nil {
		return err
	}
	key, err1 := expandLabel(newHash, secret, "key", keyLength)
	iv, err2 := expandLabel(newHash, secret, "iv", 12)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	aead, err := newAEAD(key)
	if err != nil {
		return fmt.Errorf("cipher for an alert: %w", err)
	}
	const fatal, typeAlert, typeData = 2, 21, 23
	plain := []byte{fatal, alert, typeAlert}
	header := []byte{typeData, 3, 3}
	header = binary.BigEndian.AppendUint16(header, uint16(len(plain)+aead.Overhead())) //nolint:gosec // 19
	// The sequence number of the first record is 0, so the nonce is the IV itself.
	_, err = raw.Write(aead.Seal(header, iv, plain, header))
	return err
}

// serverSecret finds the secret of what the server sends in a log of keys.
func serverSecret(keyLog []byte) ([]byte, error) {
	for line := range bytes.Lines(keyLog) {
		if fields := bytes.Fields(line); len(fields) == 3 && string(fields[0]) == "SERVER_TRAFFIC_SECRET_0" {
			return hex.DecodeString(string(fields[2]))
		}
	}
	return nil, errors.New("no key for an alert: the handshake is not complete")
}

func suite(id uint16) (newHash func() hash.Hash, keyLength int, newAEAD func([]byte) (cipher.AEAD, error), err error) {
	gcm := func(key []byte) (cipher.AEAD, error) {
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, err
		}
		return cipher.NewGCM(block)
	}
	switch id {
	case tls.TLS_AES_128_GCM_SHA256:
		return sha256.New, 16, gcm, nil
	case tls.TLS_AES_256_GCM_SHA384:
		return sha512.New384, 32, gcm, nil
	case tls.TLS_CHACHA20_POLY1305_SHA256:
		return sha256.New, chacha20poly1305.KeySize, chacha20poly1305.New, nil
	}
	return nil, 0, nil, fmt.Errorf("no alert with cipher suite %s", tls.CipherSuiteName(id))
}

// expandLabel is HKDF-Expand-Label of RFC 8446, section 7.1, without a context.
func expandLabel(newHash func() hash.Hash, secret []byte, label string, length int) ([]byte, error) {
	label = "tls13 " + label
	info := binary.BigEndian.AppendUint16(nil, uint16(length)) //nolint:gosec // 12 to 32
	info = append(info, byte(len(label)))                      //nolint:gosec // a constant of this file
	info = append(append(info, label...), 0)
	return hkdf.Expand(newHash, secret, string(info), length)
}
