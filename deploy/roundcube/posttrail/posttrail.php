<?php

/**
 * A "Track Delivery" button in Roundcube's task bar: it leads to posttrail's page of the mailbox
 * that is logged in.
 *
 * The button posts to Roundcube (with its request token), Roundcube asks posttrail-queryd over its
 * Unix socket for a link (POST /v1/links), and the browser is sent there. The link works once,
 * within five minutes. The user under which PHP runs must be in query.link_logins: it may make
 * links, and read nothing. See docs/operating.md.
 *
 * @license the same as posttrail's, see LICENSE
 */
class posttrail extends rcube_plugin
{
    public $task = '?(?!login|logout).*';
    public $noajax = true;

    public function init()
    {
        $this->load_config();
        $this->add_texts('localization/', false);
        $this->register_task('posttrail');
        $this->register_action('index', [$this, 'show']);
        $this->register_action('open', [$this, 'open']);
        $this->add_button([
            'type' => 'link',
            'label' => 'posttrail.track',
            'href' => './?_task=posttrail',
            'class' => 'button-posttrail',
            'classsel' => 'button-posttrail button-selected',
            'innerclass' => 'button-inner',
        ], 'taskbar');
    }

    /** A page with one button: a GET makes no link, so that nobody can make one by a picture. */
    public function show()
    {
        $rcmail = rcmail::get_instance();
        $rcmail->output->set_pagetitle($this->gettext('track'));
        $rcmail->output->add_handler('plugin.body', [$this, 'form']);
        $rcmail->output->send('plugin');
    }

    /** The form; html::tag and friends escape what they are given. */
    public function form()
    {
        $rcmail = rcmail::get_instance();
        $button = html::tag('button', ['class' => 'button mainaction'],
            rcube::Q($this->gettext('show')));
        return $rcmail->output->form_tag([
            'action' => './?_task=posttrail&_action=open',
            'method' => 'post',
            'target' => $rcmail->config->get('posttrail_frame') ? '_self' : '_blank',
        ], html::p(null, rcube::Q($this->gettext('about'))) . $button);
    }

    /** Make a link for whoever is logged in, and go there. */
    public function open()
    {
        $rcmail = rcmail::get_instance();
        if (!$rcmail->check_request(rcube_utils::INPUT_POST)) {
            $rcmail->output->show_message('invalidrequest', 'error');
            $this->show();
            return;
        }
        // Of the session, never of the request: the address that logged in.
        $address = $rcmail->get_user_name();
        if (strpos($address, '@') === false) {
            $address .= '@' . $rcmail->config->mail_domain($rcmail->user->data['mail_host']);
        }
        $socket = $rcmail->config->get('posttrail_socket', '/run/posttrail/queryd.sock');
        $link = self::link($socket, $address);
        if ($link === null) {
            $rcmail->output->show_message('posttrail.unavailable', 'error');
            $this->show();
            return;
        }
        header('Referrer-Policy: no-referrer');
        header('Location: ' . $link, true, 303);
        exit;
    }

    /** A new link; null where posttrail-queryd gives none (why is in its answer, and our log). */
    public static function link(string $socket, string $address): ?string
    {
        $asked = curl_init('http://posttrail/v1/links');
        curl_setopt_array($asked, [
            CURLOPT_UNIX_SOCKET_PATH => $socket,
            CURLOPT_POST => true,
            CURLOPT_POSTFIELDS => json_encode(['address' => $address]),
            CURLOPT_HTTPHEADER => ['Content-Type: application/json', 'Accept: application/json'],
            CURLOPT_RETURNTRANSFER => true,
            CURLOPT_PROXY => '',
            CURLOPT_CONNECTTIMEOUT => 2,
            CURLOPT_TIMEOUT => 5,
        ]);
        $body = curl_exec($asked);
        $status = curl_getinfo($asked, CURLINFO_RESPONSE_CODE);
        $error = curl_error($asked);
        curl_close($asked);
        $made = is_string($body) ? json_decode($body, true) : null;
        if ($status !== 201 || !is_string($made['url'] ?? null)) {
            error_log("posttrail: no link: status $status " . ($made['detail'] ?? $error));
            return null;
        }
        return $made['url'];
    }
}
