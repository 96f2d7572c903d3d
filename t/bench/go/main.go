// Google's client signs URLs as fast as it can.
//
//	sign [-parsed] KEY BUCKET FOLDER FIRST SECONDS
//
// As its documentation shows, with the key as it stands in the file, which the
// client parses again for each URL; with -parsed by a function that has parsed
// it once.  Prints, in JSON, how many, in how many seconds, and the last of
// them with its object.
package main

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"

	"cloud.google.com/go/storage"
)

const ttl = 15 * time.Minute

type account struct {
	Email string `json:"client_email"`
	Key   string `json:"private_key"`
}

type result struct {
	Count   int     `json:"count"`
	Object  string  `json:"object"`
	URL     string  `json:"url"`
	Seconds float64 `json:"seconds"`
	CPU     float64 `json:"cpu"`
}

// Seconds that this process has run, with all of its threads.
func cpu() float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
}

// What signs with a key that has been parsed.
func signer(text string) (func([]byte) ([]byte, error), error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("the key is not PEM")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	key, ok := parsed.(*rsa.PrivateKey)
	if !ok {
		return nil, errors.New("the key is not RSA")
	}
	return func(data []byte) ([]byte, error) {
		sum := sha256.Sum256(data)
		return rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	}, nil
}

func run(args []string, parsed bool) error {
	if len(args) != 5 {
		return errors.New("usage: sign [-parsed] KEY BUCKET FOLDER FIRST SECONDS")
	}
	data, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	var reader account
	if err := json.Unmarshal(data, &reader); err != nil {
		return err
	}
	first, err := strconv.Atoi(args[3])
	if err != nil {
		return err
	}
	seconds, err := strconv.ParseFloat(args[4], 64)
	if err != nil {
		return err
	}

	options := storage.SignedURLOptions{
		GoogleAccessID: reader.Email,
		Method:         "GET",
		Scheme:         storage.SigningSchemeV4,
	}
	if parsed {
		if options.SignBytes, err = signer(reader.Key); err != nil {
			return err
		}
	} else {
		options.PrivateKey = []byte(reader.Key)
	}

	var last result
	begin, used := time.Now(), cpu()
	for time.Since(begin).Seconds() < seconds {
		last.Count++
		last.Object = fmt.Sprintf("%s%09d.jpg", args[2], first+last.Count)
		options.Expires = time.Now().Add(ttl)
		last.URL, err = storage.SignedURL(args[1], last.Object, &options)
		if err != nil {
			return err
		}
	}
	last.Seconds = time.Since(begin).Seconds()
	last.CPU = cpu() - used
	return json.NewEncoder(os.Stdout).Encode(last)
}

func main() {
	parsed := flag.Bool("parsed", false, "parse the key once")
	flag.Parse()
	if err := run(flag.Args(), *parsed); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
