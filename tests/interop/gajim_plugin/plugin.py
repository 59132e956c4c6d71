"""A Gajim plugin for the tests: lines of JSON over a Unix socket, commands in and Gajim's own events out.

Gajim's D-Bus interface can chat but not add a contact, and a screen full of widgets is a poor thing to click at; this
calls what the widgets call. It changes nothing of Gajim but the list of CAs, which is the test's CA alone.
"""

import json
import os

from gi.repository import Gio, GLib

from gajim.common import app, ged
from gajim.common.structs import OutgoingMessage
from gajim.gtk.util import get_app_window
from gajim.plugins import GajimPlugin
from nbxmpp.protocol import JID

MOST = 10_000
EVENTS = (
    "message-received", "gc-message-received", "presence-received", "our-show", "subscribed-presence-received",
    "signed-in", "muc-invitation",
)  # fmt: skip
ROOM_SIGNALS = ("room-joined", "room-join-failed", "room-kicked", "room-left")


class Interop(GajimPlugin):
    def init(self):
        self.description = "Lets a test drive this Gajim over a socket."
        self.config_dialog = None
        # For registration only; the handlers have to live as long as the plugin.
        self.events_handlers = {name: (ged.POSTGUI, self._event) for name in EVENTS}
        self.events_handlers["stanza-received"] = (ged.POSTGUI, self._stanza)
        self._commands = {
            "trust": self._trust, "status": self._status, "subscribe": self._subscribe, "say": self._say,
            "roster": self._roster, "state": self._state, "distrusts": self._distrusts, "open": self._open,
            "history": self._history, "encrypt": self._encrypt, "keys": self._keys, "bookmark": self._bookmark,
            "bookmarks": self._bookmarks, "join": self._join, "create": self._create, "room": self._room, "nick": self._nick,
            "room_history": self._room_history,
            "invite": self._invite, "kick": self._kick, "subject": self._subject, "quit": self._quit,
        }  # fmt: skip

    def activate(self):
        client = Gio.SocketClient()
        connection = client.connect(Gio.UnixSocketAddress.new(os.environ["INTEROP_SOCKET"]), None)
        self._connection = connection
        self._output = connection.get_output_stream()
        self._input = Gio.DataInputStream.new(connection.get_input_stream())
        self._read()

    def _read(self):
        self._input.read_line_async(GLib.PRIORITY_DEFAULT, None, self._line)

    def _line(self, stream, result):
        line, _length = stream.read_line_finish_utf8(result)
        if line is None:
            return
        command = json.loads(line)
        try:
            self._tell({"reply": self._commands[command.pop("do")](**command)})
        except Exception as error:  # the test has to hear of it
            self._tell({"reply": None, "error": repr(error)})
        self._read()

    def _tell(self, what):
        self._output.write_all((json.dumps(what) + "\n").encode(), None)

    def _event(self, event):
        values = {"event": event.name}
        for name in ("msgtxt", "show", "status", "fjid", "jid", "delayed", "muc", "from_"):
            if (value := getattr(event, name, None)) is not None:
                values[name] = value if isinstance(value, (int, float)) else str(value)
        self._tell(values)

    def _stanza(self, event):
        if event.stanza.getAttr("type") == "error":
            self._tell({"event": "refused", "stanza": str(event.stanza)})

    @staticmethod
    def _trust(ca):
        backend = Gio.TlsBackend.get_default()
        backend.set_default_database(Gio.TlsFileDatabase.new(ca))
        return True

    @staticmethod
    def _status(account, show, text=""):
        app.get_client(account).change_status(show, text)
        return True

    @staticmethod
    def _state(account):
        return app.get_client(account).state.name.lower()

    @staticmethod
    def _distrusts():
        """Whether Gajim asks its user about a certificate; the answer is no."""
        window = get_app_window("SSLErrorDialog")
        if window is not None:
            window.destroy()
        return window is not None

    @staticmethod
    def _open(account, jid):
        app.window.add_chat(account, JID.from_string(jid), "contact", select=True)
        return True

    @staticmethod
    def _subscribe(account, jid, name):
        app.get_client(account).get_module("Presence").subscribe(jid, name=name, auto_auth=True)
        return True

    @staticmethod
    def _say(account, jid, text):
        client = app.get_client(account)
        contact = client.get_module("Contacts").get_contact(jid)
        kind = "groupchat" if contact.is_groupchat else "chat"
        client.send_message(OutgoingMessage(account=account, contact=contact, message=text, type_=kind))
        return True

    def _join(self, account, jid, nick):
        """As its dialog does, and as a click on an invitation does."""
        client = app.get_client(account)
        room = client.get_module("Contacts").add_contact(JID.from_string(jid), groupchat=True)
        for signal in ROOM_SIGNALS:
            room.connect(signal, self._room_signal)
        client.get_module("MUC").join(room.jid, nick)
        return True

    @staticmethod
    def _create(account, jid, config):
        app.get_client(account).get_module("MUC").create(jid, config)
        return True

    def _room_signal(self, room, signal, *_):
        self._tell({"event": signal, "jid": str(room.jid)})

    @staticmethod
    def _room(account, jid):
        """What its window shows of a room."""
        room = app.get_client(account).get_module("Contacts").get_contact(JID.from_string(jid), groupchat=True)
        subject = room.subject
        return {
            "joined": room.is_joined, "nick": room.nickname, "subject": None if subject is None else subject.text,
            "occupants": sorted(contact.name for contact in room.get_participants()),
        }  # fmt: skip

    @staticmethod
    def _nick(account, jid, nick):
        app.get_client(account).get_module("MUC").change_nick(JID.from_string(jid), nick)
        return True

    @staticmethod
    def _invite(account, jid, whom):
        app.get_client(account).get_module("MUC").invite(JID.from_string(jid), JID.from_string(whom))
        return True

    @staticmethod
    def _kick(account, jid, nick):
        app.get_client(account).get_module("MUC").set_role(JID.from_string(jid), nick, "none", "out")
        return True

    @staticmethod
    def _subject(account, jid, text):
        app.get_client(account).get_module("MUC").set_subject(JID.from_string(jid), text)
        return True

    @staticmethod
    def _encrypt(account, jid, how):
        app.get_client(account).get_module("Contacts").get_contact(jid).settings.set("encryption", how)
        return True

    @staticmethod
    def _keys(account, jid):
        """Whether the OMEMO plugin has the keys of the contact; it asks for what is missing."""
        return not app.get_client(account).get_module("OMEMO").are_keys_missing(jid)

    @staticmethod
    def _bookmark(account, jid, name):
        module = app.get_client(account).get_module("Bookmarks")
        module.add_or_modify(JID.from_string(jid), name=name, autojoin=False)
        return True

    @staticmethod
    def _bookmarks(account):
        return [str(bookmark.jid) for bookmark in app.get_client(account).get_module("Bookmarks").bookmarks]

    @staticmethod
    def _roster(account):
        module = app.get_client(account).get_module("Roster")
        return {str(contact.jid): contact.subscription for contact in module.iter_contacts()}

    @staticmethod
    def _history(account, jid):
        """The lines of a chat as its window would show them; None while they are still being fetched."""
        client = app.get_client(account)
        if not client.get_module("MAM").is_catch_up_finished(client.get_own_jid().bare):
            return None
        rows = app.storage.archive.get_conversation_before_after(account, jid, False, 0, MOST)
        return [row.message for row in rows]

    @staticmethod
    def _room_history(account, jid):
        """The lines of a room as its window would show them: who, what."""
        rows = app.storage.archive.get_conversation_before_after(account, JID.from_string(jid), False, 0, MOST)
        return [(row.contact_name, row.message) for row in rows if row.message]

    @staticmethod
    def _quit():
        GLib.idle_add(app.app.quit)
        return True
